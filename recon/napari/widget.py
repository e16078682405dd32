"""The widget: the layer and the options, a worker beside the viewer, progress, and the verdict."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from recon.napari.restoration import Progress, Request, Restored, place, restore

_TRANSFORMS = ("rotate", "shear", "affine", "units", "axis_labels")


def followed(run: Callable[[Progress], Restored], stop: threading.Event) -> Iterator[Any]:
    """Run beside the caller and yield (step, budget, distance) as it goes on, then the result.

    Args:
        run: What takes the callback of progress.
        stop: Set to end the run.

    Raises:
        Exception: Whatever ``run`` raised.
    """
    news: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def progress(step: int, budget: int, distance: float) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        news.put((step, budget, distance))

    def work() -> None:
        try:
            news.put(run(progress))
        except BaseException as error:
            news.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        item = news.get()
        if isinstance(item, BaseException):
            raise RuntimeError("The restoration was ended.") if isinstance(item, KeyboardInterrupt) else item
        yield item
        if isinstance(item, Restored):
            return


def layer_of(layer: Any, found: Restored) -> tuple[Any, dict[str, Any]]:
    """The pixels of the new layer and its attributes: place, colours and limits of the measured one, verdict."""
    data = layer.data[0] if layer.multiscale else layer.data
    before, after = (shape[-3:-1] if layer.rgb else shape[-2:] for shape in (data.shape, found.data.shape))
    scale, translate = place(layer.scale, layer.translate, tuple(before), tuple(after))
    attributes = {name: getattr(layer, name) for name in _TRANSFORMS if hasattr(layer, name)}
    attributes |= {"scale": scale, "translate": translate, "rgb": layer.rgb, "name": f"{layer.name} restored"}
    attributes["metadata"] = {**layer.metadata, **found.metadata}
    if not layer.rgb:
        attributes |= {"colormap": layer.colormap.name, "contrast_limits": tuple(layer.contrast_limits)}
    return found.data, attributes


def restore_widget() -> Any:
    """The widget that napari docks: it restores the layer that is chosen, the active one at first."""
    from magicgui import magicgui  # noqa: PLC0415  an optional extra
    from napari import Viewer  # noqa: PLC0415
    from napari.layers import Image  # noqa: PLC0415
    from napari.qt.threading import create_worker  # noqa: PLC0415
    from napari.utils import progress  # noqa: PLC0415
    from napari.utils.notifications import show_info  # noqa: PLC0415

    def run(  # noqa: PLR0913, PLR0917  a field of the widget each
        viewer: Any, layer: Any, operator: str, prior: str, noise: str, iterations: int
    ) -> Any:
        data, rgb = layer.data[0] if layer.multiscale else layer.data, layer.rgb
        asked, stop = Request(operator, prior, noise, iterations), threading.Event()
        bar = progress(total=iterations, desc=f"{layer.name}")

        def show(item: Any) -> None:
            if isinstance(item, Restored):
                pixels, attributes = layer_of(layer, item)
                viewer.add_image(pixels, **attributes)
                show_info(item.verdict)
            else:
                bar.update(item[0] - bar.n)

        worker = create_worker(followed, lambda watch: restore(data, asked, rgb, watch), stop)
        worker.yielded.connect(show)
        worker.finished.connect(bar.close)
        worker.aborted.connect(stop.set)
        worker.start()
        return worker

    run.__annotations__ |= {"viewer": Viewer, "layer": Image, "return": None}
    widget = magicgui(
        run,
        call_button="Restore",
        operator={"value": "identity", "tooltip": "As recon solve --operator: identity, blur:gaussian=1.6, ..."},
        prior={"value": "", "tooltip": "As --prior; empty: the default"},
        noise={"value": "", "tooltip": "As --noise, of the range 0..1; empty: estimated"},
        iterations={"value": 1000, "min": 1, "max": 10**6},
    )
    widget.reset_choices()
    return widget
