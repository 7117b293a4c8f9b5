"""The console open in a browser while shoppers order: memory of the page, errors of its scripts, CPU of the control process.

`python -m benchmarks.scenarios.console [--minutes 10] [--pictures DIR] [--quick]`.
"""

import argparse
import asyncio
import sys
import threading
from itertools import count
from pathlib import Path

from benchmarks.harness.books import stock_up
from benchmarks.harness.chromium import Page, browser_page
from benchmarks.harness.command import exit_code_of
from benchmarks.harness.gateway_process import Api, GatewayProcess, HarnessError, serving
from benchmarks.harness.ports import free_port
from benchmarks.harness.processes import cpu_time, memory
from benchmarks.harness.results import Result, results_table, write_results
from cart.model import Sku

ORDERS_A_SECOND = 20
PICTURES = {"console": (1400, 1500, False), "console-dark": (1400, 1000, True), "console-phone": (420, 1200, False)}


def main() -> int:
    """Entry point of `make bench-console`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.console", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the page is open (default: 10)")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the page: wide, dark, and on a phone")
    parser.add_argument("--quick", action="store_true", help="half a minute, results not written: for trying it out")
    args = parser.parse_args()
    if args.pictures is not None:
        args.pictures.mkdir(parents=True, exist_ok=True)
    seconds = 30.0 if args.quick else args.minutes * 60
    return exit_code_of("console", lambda: measure(seconds=seconds, pictures=args.pictures, keep=not args.quick))


def measure(*, seconds: float, pictures: Path | None, keep: bool) -> None:
    """Measure, print the results and, if wanted, write results/console.json."""
    admin_port = free_port()
    with serving("--workers", "1", "--admin-port", str(admin_port)) as gateway:
        results = asyncio.run(_measure(gateway, admin_port, seconds, pictures))
    print(results_table(results))
    if keep:
        print(
            f"\nwritten to {write_results('console', {'seconds': seconds, 'orders_a_second': ORDERS_A_SECOND}, {}, results)}"
        )


async def _measure(gateway: GatewayProcess, admin_port: int, seconds: float, pictures: Path | None) -> list[Result]:
    is_over = threading.Event()
    shoppers = asyncio.create_task(asyncio.to_thread(_order, gateway, is_over))
    try:
        return await _watched(gateway, admin_port, seconds, pictures)
    finally:
        is_over.set()
        await shoppers


async def _watched(gateway: GatewayProcess, admin_port: int, seconds: float, pictures: Path | None) -> list[Result]:
    token = (gateway.data_dir / "admin-token").read_text().strip()
    control = gateway.control_process()
    alone = await _cpu_share(control, min(30.0, seconds))
    async with browser_page() as page:
        await page.open(f"http://127.0.0.1:{admin_port}/", {"Authorization": f"Bearer {token}"})
        await _until_drawn(page)
        heap, resident = await page.heap_bytes(), memory(control).rss
        used = await _cpu_share(control, seconds)
        grown, kept = await page.heap_bytes() - heap, memory(control).rss - resident
        if pictures is not None:
            for name, (width, height, dark) in PICTURES.items():
                await page.screenshot(pictures / f"{name}.png", width=width, height=height, dark=dark)
        errors = len(page.errors)
        for error in page.errors[:5]:
            print(f"error in the page: {error}")
    return [
        Result("control process with one page open", 100 * used, "% of a core", 1.0, "that looks at the workers every 5 s"),
        Result("control process without a page", 100 * alone, "% of a core"),
        Result("memory of the page's scripts, growth", grown / 1e6, "MB", 2.0, f"{heap / 1e6:.1f} MB at first"),
        Result("memory of the control process, growth", kept / 1e6, "MB", 10.0, f"{resident / 1e6:.1f} MB at first"),
        Result("errors of scripts", errors, "", 0.0),
    ]  # fmt: skip


def _order(gateway: GatewayProcess, is_over: threading.Event) -> None:
    """Shoppers that order at a steady rate."""
    with Api(gateway.port) as api:
        skus = api.skus(50)
        stock_up(gateway, map(Sku, skus), 10**6)
        for number in count():
            cart = api.cart_of([skus[number % len(skus)]])
            for _ in range(3):
                api.call("GET", f"/v1/carts/{cart}")
            api.check_out(cart, key=f"console-{number}")
            if is_over.wait(1 / ORDERS_A_SECOND):
                return


async def _until_drawn(page: Page) -> None:
    try:
        await page.until("document.querySelectorAll('#plots polyline').length > 3")
    except TimeoutError as error:
        raise HarnessError("the console draws nothing") from error


async def _cpu_share(pid: int, seconds: float) -> float:
    began = cpu_time(pid).total_s
    await asyncio.sleep(seconds)
    return (cpu_time(pid).total_s - began) / seconds


if __name__ == "__main__":
    sys.exit(main())
