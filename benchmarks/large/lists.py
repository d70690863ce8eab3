"""A label file of very many rows: names in folders, three generators, sources."""

from pathlib import Path
from typing import Any

import numpy as np

MAKERS = ("", "stylegan2", "diffusion-xl", "faceswap")
FOLDERS = ("real", *MAKERS[1:])
SHARES = (0.19, 0.27, 0.27, 0.27)
ODD = 1000
"""One line of so many is bad in the second list."""
BLOCK = 100_000


def make_list(path: Path, n: int, odd: bool) -> None:
    """A label file of `n` rows; `odd`: each thousandth line is bad in one of six ways."""
    rng = np.random.default_rng(n)
    sources = draw_sources(n, rng)
    with open(path, "w", encoding="utf-8") as file:
        file.write("img_name,target,generator,source\n")
        for start in range(0, n, BLOCK):
            kinds = rng.choice(len(MAKERS), min(BLOCK, n - start), p=SHARES).tolist()
            drawn = zip(kinds, sources[start : start + BLOCK].tolist(), strict=True)
            for row, (kind, source) in enumerate(drawn, start):
                name = f"{FOLDERS[kind]}/{row // 1000:06d}/img_{row:08d}.jpg"
                line = f"{name},{int(kind > 0)},{MAKERS[kind]},video_{source:08d}"
                if odd and row % ODD == ODD - 1:
                    line = spoil(line, row // ODD % 6)
                file.write(f"{line}\n")


def draw_sources(n: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """`(n,)` numbers: 30 % of the rows are in groups of 2 to 5, scattered, the others single."""
    sizes = rng.integers(2, 6, max(n // 5, 1))
    sizes = sizes[np.cumsum(sizes) <= 0.3 * n]
    grouped = np.repeat(np.arange(len(sizes)), sizes)
    single = np.arange(len(sizes), len(sizes) + n - len(grouped))
    return rng.permutation(np.concatenate([grouped, single]))


def spoil(line: str, way: int) -> str:
    name, target, rest = line.split(",", 2)
    return (
        f"../{line}",
        f"C:\\{line}",
        f"{line},x",
        f"{name},{target}",
        f"{name},2,{rest}",
        f",{target},{rest}",
    )[way]
