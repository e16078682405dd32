"""Pages for tests: small pictures with a record, and what is in the text of a page."""

import base64
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np

from recon.report.page import Contents, Group, Layer, Scale, Slice, wavelet
from recon.report.page.measures import measure

CONDITION = {
    "name": "the prior is firmly nonexpansive", "value": 1.0, "relation": "<=", "bound": 1.0, "holds": True,
    "evidence": "proved", "how": "a proximity operator is", "refuted": False,
}  # fmt: skip

RECORD = {
    "schema": 1,
    "status": "converged",
    "sentence": "The estimated distance to the limit fell below the tolerance.",
    "steps": 12,
    "distance": {"value": 0.1, "relative": 1e-3, "evidence": "measured", "how": "extrapolated"},
    "certificate": {
        "theorem": "a theorem", "conclusion": "x_k -> x*, ||x*||^2", "in_words": "the image comes near", "holds": True,
        "evidence": "proved", "conditions": [CONDITION], "given": None, "remarks": [], "weaker": None,
    },
    "error_bounds": [],
    "backward_errors": [],
    "residual_check": {"noise": 0.01, "inside": 0.009, "noise_source": "stated", "remarks": []},
    "config": {"operator": "identity", "prior": "tv:weight=0.01", "noise": "5HU"},
    "plan": {
        "operator": "identity", "method": "fista", "stepsize": 0.9, "noise": 0.01, "noise_in_units": 5.0,
        "tolerance": 0.002, "range": {"low": -1024.0, "high": 3071.0, "units": "HU"},
    },
    "versions": {"recon": "0"},
    "inputs": [{"role": "measurement", "path": None, "sha256": "0" * 64, "bytes": 1}],
    "outputs": [{"path": "after.dcm", "sha256": "1" * 64}],
    "seconds": 0.1,
    "peak_bytes": 1,
    "history": [{"step": k, "residuals": [0.1 / k**2], "distances": [None]} for k in (1, 2, 4, 8, 12)],
}  # fmt: skip


def pictures(seed=0, size=(48, 64), noise=5.0):
    """An image with a bright square, noisy before and less so after, in whole HU."""
    random = np.random.default_rng(seed)
    clean = np.full(size, 40.0)
    clean[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 400.0
    before = np.rint(clean + random.normal(0, noise, size))
    after = np.rint(clean + random.normal(0, noise / 5, size))
    return before[None], after[None]


def contents(count=1, record=RECORD, size=(48, 64), title="Reconstruction of a series"):
    def slices():
        for number in range(count):
            before, after = pictures(number, size)
            layers = (
                Layer("before", "measurement", before, unit="HU", step=1.0),
                Layer("after", "result", after, unit="HU", step=1.0),
                Layer("residual", "A x − y", None, Scale.SIGNED, "HU", (-20.0, 20.0), difference=("after", "before")),
            )
            change = measure(before, after, unit="HU", pixel=0.5)
            yield Slice(f"{number + 1:04}.dcm", layers, dict(record), (-160.0, 240.0), change)

    return Contents(title, [Group("series", slices(), count, "CT")])


def meta_of(page):
    """What the script of a page reads."""
    return json.loads(re.search(r'<script id="pictures-data"[^>]*>(.*?)</script>', page, re.S)[1])


def data_of(page, identity):
    return re.search(rf'<script type="text/plain" id="{identity}">([^<]*)</script>', page)[1]


def decoded(text, meta):
    """The values of a display copy: a second reader, beside the script of the page."""
    channels, rows, columns = meta["shape"]
    data = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).astype(np.int64)
    count = channels * rows * columns
    planes = 3 if meta["coder"] == "wavelet" else 2
    folded = sum(data[at * count : (at + 1) * count] << (8 * at) for at in range(planes))
    numbers = (folded >> 1) ^ -(folded & 1)
    if meta["coder"] == "wavelet":
        found = np.empty((channels, rows, columns))
        at = 0
        for channel in range(channels):
            for band in wavelet.bands(rows, columns):
                part = found[channel][band]
                part[:] = numbers[at : at + part.size].reshape(part.shape)
                at += part.size
        values = np.stack([wavelet.inverse(each * meta["quantum"]) for each in found]).clip(*meta["range"])
        if meta["holes"]:
            values[data[3 * count :].reshape(values.shape) == 0] = np.nan
        return values
    differences = numbers.reshape(channels, rows, columns)
    stored = np.zeros((channels, rows + 1, columns + 1), np.int64)
    for row, column in np.ndindex(rows, columns):
        left, above, corner = stored[:, row + 1, column], stored[:, row, column + 1], stored[:, row, column]
        if meta["coder"] == "mean":
            guess = (left + above) >> 1
        else:
            guess = np.clip(left + above - corner, np.minimum(left, above), np.maximum(left, above))
        stored[:, row + 1, column + 1] = (guess + differences[:, row, column]) & 0xFFFF
    found = stored[:, 1:, 1:]
    return np.where(found == 0, np.nan, meta["offset"] + meta["step"] * found)


class Structure(HTMLParser):
    """The elements of a page, and whether each end has its beginning."""

    VOID = ("meta", "input", "br", "link", "img", "base")

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.wrong = [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def structure(page):
    found = Structure()
    found.feed(page)
    found.close()
    return found
