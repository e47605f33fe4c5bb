"""The webhook of a service, and what keeps its budgets up to date."""

from typing import Final

from podpower_serving.admission.budgets import Ledger
from podpower_serving.admission.following import Following
from podpower_serving.admission.webhook import Webhook
from podpower_serving.metrics import Metrics
from podpower_serving.models import Served
from podpower_serving.settings import Settings

_FRESH_SECONDS: Final = 24 * 3600.0  # an older summary denies nothing


def admission_of(settings: Settings, served: Served, metrics: Metrics) -> tuple[Webhook, Following]:
    """Return the webhook of these settings, and what follows its budgets."""
    ledger = Ledger(cluster=settings.cluster, fresh_seconds=_FRESH_SECONDS)
    webhook = Webhook(
        served=served,
        ledger=ledger,
        metrics=metrics,
        denying=frozenset(settings.admission_deny),
        cluster=settings.cluster,
    )
    following = Following(
        ledger, store=settings.model_store, budgets_file=settings.budgets_file, cluster=settings.cluster
    )
    return webhook, following
