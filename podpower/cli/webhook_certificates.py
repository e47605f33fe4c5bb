"""`podpower webhook-certificates`: issue and renew the certificates of the admission webhook in a cluster."""

import argparse
import contextlib
from pathlib import Path

from podpower.cli import output
from podpower.cli.arguments import Commands, add_command, seconds
from podpower.cli.connections import add_kubernetes, open_cluster
from podpower.errors import InvalidInput, PodpowerError

_RETRY_SECONDS = 60.0


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "webhook-certificates",
        run,
        summary="Issue and renew the certificates of the admission webhook in a cluster.",
        details="""\
An authority of a year and a certificate of 150 days are kept in a Secret, which exists already; the webhook is made to
trust the authority, the new one before the old one ends. --out receives tls.pem, key and certificate in one file, which
`podpower serve --tls-cert F --tls-key F` takes up without a restart. Several pods can do this at once.

  podpower webhook-certificates --namespace podpower --secret podpower-webhook --service podpower-webhook \\
    --webhook podpower --out /tls --every 12h
""",
    )
    parser.add_argument("--namespace", required=True, metavar="NS", help="namespace of the Secret and the Service")
    parser.add_argument("--secret", required=True, metavar="NAME", help="Secret that keeps the certificates")
    parser.add_argument("--service", required=True, metavar="NAME", help="Service of the webhook")
    parser.add_argument("--webhook", required=True, metavar="NAME", help="MutatingWebhookConfiguration")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of tls.pem")
    parser.add_argument(
        "--every", type=seconds, metavar="SPAN", help="check again after so long, until Ctrl-C (default: once)"
    )
    add_kubernetes(parser)


def run(arguments: argparse.Namespace) -> int:
    """Renew once, or again and again."""
    import asyncio  # noqa: PLC0415

    folder = Path(arguments.out)
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder: make it, or give another --out")
    asyncio.run(_renew(arguments, folder))
    return 0


async def _renew(arguments: argparse.Namespace, folder: Path) -> None:
    import asyncio  # noqa: PLC0415
    import signal  # noqa: PLC0415
    from datetime import UTC, datetime  # noqa: PLC0415

    from podpower.sources.kubernetes.api import Api  # noqa: PLC0415
    from podpower.webhook.renewal import Place, renew  # noqa: PLC0415

    place = Place(
        namespace=arguments.namespace, secret=arguments.secret, service=arguments.service, webhook=arguments.webhook
    )
    access, stop = open_cluster(arguments), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set():
        wait_s = arguments.every
        try:
            async with Api(access, note=output.note) as api:
                await renew(api, place, folder=folder, now=datetime.now(UTC), note=output.note)
        except PodpowerError as error:
            if wait_s is None:
                raise
            output.note(f"error: {error}; trying again in {_RETRY_SECONDS:g} s")
            wait_s = min(wait_s, _RETRY_SECONDS)
        if wait_s is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=wait_s)
