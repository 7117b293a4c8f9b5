from benchmarks.replay.tables import table


def test_a_table_keeps_its_columns_apart_and_numbers_readable() -> None:
    assert table(("", "accepted"), [("units", 1440), ("rate", "1.5")]).splitlines() == [
        "       accepted",
        "---------------",
        "units     1,440",
        "rate        1.5",
    ]
