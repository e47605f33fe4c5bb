"""`damaged_encoder`: the encoder of all features is put back from a model version where its file is damaged or gone.

Features and rows are vectors of one encoder, and each model version keeps the encoder that it was trained with, under a
digest. A version of the recorded encoder has the same one; where there is none, the encoder is fitted again.
"""

import time

import dagster as dg

from podpower.errors import Damaged, PodpowerError, Refused
from podpower.registry.store import ModelStore
from podpower_assets.checks import ENCODER_IS_WHOLE
from podpower_assets.features.assets import ENCODER
from podpower_assets.policies import LIMITED, QUARTER_S
from podpower_assets.resources import Models, Tables
from podpower_assets.versions import WHOLE, recorded

_KEY = dg.AssetKey(ENCODER)
_CHECK = dg.AssetCheckKey(_KEY, ENCODER_IS_WHOLE)

damaged_encoder_job = dg.define_asset_job(
    "fitted_encoder",
    selection=[ENCODER],
    tags=LIMITED,
    description="The encoder, of which no model version has a copy.",
)


@dg.sensor(
    name="damaged_encoder",
    job=damaged_encoder_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Puts a damaged or lost encoder back from a model version that has it, and reports it.",
)
def damaged_encoder(context: dg.SensorEvaluationContext, tables: Tables, models: Models) -> dg.SensorResult:
    """Look at the encoder; report and restore it where it is not whole, and report at the next tick that it is."""
    last = recorded(context.instance, _KEY, None).get(WHOLE)
    if last is None:
        return dg.SensorResult(skip_reason="no encoder yet")
    try:
        kept = ""
        try:
            whole = tables.encoder() is not None
        except Damaged as error:
            whole, kept = False, str(error)
        if whole:
            return dg.SensorResult(skip_reason=_passed(context.instance))
        version = restore(tables, models.open(), fingerprint=last.version)
    except PodpowerError as error:
        return dg.SensorResult(skip_reason=str(error))
    what = kept or "the encoder is gone"
    done = f"restored from model version {version}" if version else "no model version has it: it is fitted again"
    _report(context.instance, passed=False, description=f"{what}; {done}")
    context.log.warning(f"{what}; {done}")
    if version:
        return dg.SensorResult(skip_reason=done)
    quarter = int(time.time() // QUARTER_S)  # where it fails, the next one is requested after a quarter of an hour
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"encoder {last.storage_id} {quarter}")])


def restore(tables: Tables, store: ModelStore, *, fingerprint: str) -> str | None:
    """Write the encoder of this fingerprint from the newest whole version that has it; return the version, None where
    no version does. Those of a former podpower do not count: after an upgrade the encoder is fitted again.
    """
    for info in store.versions():
        if info.encoder_fingerprint == fingerprint and store.is_whole(info.version):
            try:
                encoder, _ = store.load(info.version)
            except Refused:
                continue
            if encoder.fingerprint == fingerprint:
                tables.save_encoder(encoder)
                return info.version
    return None


def _passed(instance: dg.DagsterInstance) -> str:
    """Report the check passed where it failed last."""
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key([_CHECK])
    last = records[_CHECK].evaluation if _CHECK in records else None
    if last is None or last.passed:
        return "the encoder is whole"
    _report(instance, passed=True, description=f"The encoder is whole again. It was: {last.description}"[:500])
    return "the encoder is whole again"


def _report(instance: dg.DagsterInstance, *, passed: bool, description: str) -> None:
    result = dg.AssetCheckEvaluation(
        asset_key=_KEY, check_name=ENCODER_IS_WHOLE, passed=passed, description=description, metadata={}
    )
    instance.report_runless_asset_event(result)
