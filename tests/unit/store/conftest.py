from tests.unit.store.wire import dial  # noqa: F401  fixture
