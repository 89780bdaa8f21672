"""Saliency maps of whole data sets, the jobs that keep them fresh, and training with them."""

from typing import TYPE_CHECKING

from cache_store.lazy import lazy_exports

if TYPE_CHECKING:
    from pipeline.refresh.job import execute
    from pipeline.refresh.live import refresh_from_network
    from pipeline.refresh.plan import plan_refresh
    from pipeline.saliency.grad_cam import grad_cam
    from pipeline.saliency.score_cam import score_cam

__all__ = ["execute", "grad_cam", "plan_refresh", "refresh_from_network", "score_cam"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "execute": "pipeline.refresh.job",
        "grad_cam": "pipeline.saliency.grad_cam",
        "plan_refresh": "pipeline.refresh.plan",
        "refresh_from_network": "pipeline.refresh.live",
        "score_cam": "pipeline.saliency.score_cam",
    },
)
