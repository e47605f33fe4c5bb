"""From the body of a review to its answer."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from podpower.errors import InvalidInput, PodpowerError
from podpower.model.predictor import Prediction, Predictor
from podpower.specs.quoting import quoted
from podpower_serving.admission import annotations, reviews
from podpower_serving.admission.annotations import number_text
from podpower_serving.admission.budgets import Admitted, Ledger, Use
from podpower_serving.admission.reviews import Review
from podpower_serving.admission.workloads import Nothing, Outcome, Reviewed, is_predicted, read
from podpower_serving.metrics import ADMISSION_OVER_BUDGET, ADMISSION_REQUESTS, Metrics
from podpower_serving.models import Served

_UPDATE: Final = "UPDATE"
ON_LOOP_BYTES: Final = 32 << 10  # of a body: what is longer is read in a thread
DEADLINE_SECONDS: Final = 1.0  # of one in a thread
_LOGGED_EVERY_SECONDS: Final = 10.0  # a traceback
_MOST_ANNOTATION_BYTES: Final = 256 << 10  # of one object, as the API server limits them
_NOT_DENIED: Final = "not denied, since no fleet summary of the last day shows what else runs"

_log = logging.getLogger("podpower.serving")


@dataclass(frozen=True, kw_only=True)
class _Predicted:
    """An object with its predictions, and those of its former spec where a budget needs them."""

    reviewed: Reviewed
    predictor: Predictor
    predictions: Sequence[Prediction]
    old_watts: float | None


@dataclass(kw_only=True)
class Webhook:
    """Answers reviews. `denying` are the namespaces whose budget denies, `*` all of them. For one event loop."""

    served: Served
    ledger: Ledger
    metrics: Metrics = field(default_factory=Metrics)
    denying: frozenset[str] = frozenset()
    cluster: str | None = None
    clock: Callable[[], float] = time.time
    _logged_at: float = -_LOGGED_EVERY_SECONDS

    async def answer(self, body: bytes) -> bytes:
        """Return the answer to a review, whatever it holds. No exception is raised."""
        uid = ""
        try:
            review = reviews.decode(body)
            uid = review.uid
            return await self._answer(review, size=len(body))
        except Nothing as nothing:
            return self.allow(uid, nothing.outcome)
        except reviews.WrongVersion:
            return self.pass_unread(body, Outcome.WRONG_VERSION)
        except InvalidInput:
            return self.pass_unread(body, Outcome.UNREADABLE)
        except Exception:  # an object must not fail because of a bug here
            self._log_failure()
            return self.allow(uid, Outcome.FAILED)

    def allow(self, uid: str, outcome: Outcome) -> bytes:
        """Return the answer that leaves an object as it is."""
        self.metrics.add(ADMISSION_REQUESTS, outcome)
        return reviews.allowed(uid, outcome=outcome)

    def pass_unread(self, beginning: bytes, outcome: Outcome) -> bytes:
        """Return the answer to a body that is not read, of which this is the beginning."""
        self.metrics.add(ADMISSION_REQUESTS, outcome)
        version = reviews.version_of(beginning)
        return reviews.allowed(reviews.uid_of(beginning), outcome=outcome, api_version=version)

    async def _answer(self, review: Review, *, size: int) -> bytes:
        if not is_predicted(review.operation, review.sub_resource):
            raise Nothing(Outcome.PASSED)
        predicted = await self._predicted(review, size=size)
        self.metrics.predicted(predicted.predictions)
        warnings: list[str] = []
        if (message := self._account(predicted, dry_run=bool(review.dry_run))) is not None:
            denies = self._denies(predicted.reviewed.namespace)
            if denies and message.use.known:
                self.metrics.add(ADMISSION_REQUESTS, Outcome.DENIED)
                return reviews.denied(review.uid, outcome=Outcome.DENIED, message=message.text)
            verdict = _NOT_DENIED if denies else "would be denied"
            warnings.append(f"{verdict}: {message.text}"[: reviews.MOST_WARNING_CHARACTERS])
        reviewed = predicted.reviewed
        wanted = annotations.annotations_of(predicted.predictions, predicted.predictor)
        patch = annotations.patch_of(wanted, reviewed.annotations)
        outcome = Outcome.ANNOTATED if patch else Outcome.UNCHANGED
        if patch and not _has_room(wanted, reviewed):
            outcome, patch = Outcome.NO_ROOM, []
        self.metrics.add(ADMISSION_REQUESTS, outcome)
        return reviews.allowed(review.uid, outcome=outcome, patch=patch, warnings=warnings)

    async def _predicted(self, review: Review, *, size: int) -> _Predicted:
        """Return the predictions of an object, made off the event loop where they take long."""
        try:
            predictor: Predictor | None = self.served.predictor
        except PodpowerError:
            predictor = None
        compares = review.operation == _UPDATE and self.ledger.budget_w(review.namespace or "") is not None
        if size <= ON_LOOP_BYTES and (predictor is None or predictor.is_quick):
            return _predict(review, predictor, cluster=self.cluster, compares=compares)
        work = asyncio.to_thread(_predict, review, predictor, cluster=self.cluster, compares=compares)
        try:
            return await asyncio.wait_for(work, DEADLINE_SECONDS)
        except TimeoutError:
            raise Nothing(Outcome.LATE) from None

    def _account(self, predicted: _Predicted, *, dry_run: bool) -> "_Exceeded | None":
        """Count the watts of an object; return what is exceeded. A dry run and a denied object count nothing."""
        reviewed = predicted.reviewed
        watts = annotations.watts_of(predicted.predictions)
        budget_w = self.ledger.budget_w(reviewed.namespace)
        if watts is None or budget_w is None:
            return None
        admitted = Admitted(
            namespace=reviewed.namespace,
            key=(reviewed.kind, reviewed.key),
            watts=watts,
            old_watts=predicted.old_watts,
            created_s=reviewed.created_s,
        )
        now_s = self.clock()
        use = self.ledger.use(admitted, budget_w=budget_w, now_s=now_s)
        exceeded = use.watts > budget_w and admitted.grows
        if exceeded and not dry_run:
            self.metrics.add(ADMISSION_OVER_BUDGET, reviewed.namespace)
        if not dry_run and not (exceeded and use.known and self._denies(reviewed.namespace)):
            self.ledger.admit(admitted, now_s=now_s)
        return _Exceeded(use=use, text=_text(admitted, use)) if exceeded else None

    def _denies(self, namespace: str) -> bool:
        return namespace in self.denying or "*" in self.denying

    def _log_failure(self) -> None:
        """Log a traceback, at most one in a while: reviews come by the thousand."""
        now = time.monotonic()
        if now - self._logged_at >= _LOGGED_EVERY_SECONDS:
            self._logged_at = now
            _log.exception("an admission review failed; its object is allowed without annotations")


@dataclass(frozen=True, kw_only=True)
class _Exceeded:
    """A budget that is exceeded, in figures and in words."""

    use: Use
    text: str


def _predict(review: Review, predictor: Predictor | None, *, cluster: str | None, compares: bool) -> _Predicted:
    reviewed = read(review.object, review=review, cluster=cluster)
    if predictor is None:
        raise Nothing(Outcome.NO_MODEL)
    requests, former = list(reviewed.requests), None
    if compares:
        try:
            former = read(review.old_object, review=review, cluster=cluster).requests
        except Nothing:  # it had no prediction: what it draws is new
            former = None
    predictions = predictor.predict([*requests, *(former or ())])  # in one call, whose cost hardly depends on its rows
    return _Predicted(
        reviewed=reviewed,
        predictor=predictor,
        predictions=predictions[: len(requests)],
        old_watts=None if former is None else annotations.watts_of(predictions[len(requests) :]),
    )


def _has_room(wanted: dict[str, str | None], reviewed: Reviewed) -> bool:
    """Return whether the API server accepts these annotations beside those that are there."""
    merged = {**(reviewed.annotations or {}), **{name: value or "" for name, value in wanted.items()}}
    return sum(len(name.encode()) + len(value.encode()) for name, value in merged.items()) <= _MOST_ANNOTATION_BYTES


def _text(admitted: Admitted, use: Use) -> str:
    namespace, (kind, name) = quoted(admitted.namespace, most=63), admitted.key
    workload = f"{quoted(kind, most=40)} {quoted(name, most=63)}"
    return (
        f"namespace {namespace} would draw {number_text(use.watts)} W with {workload} "
        f"({number_text(admitted.watts)} W), more than its budget of {number_text(use.budget_w)} W"
    )
