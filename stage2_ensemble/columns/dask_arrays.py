"""Rows on a cluster: memory-mapped files as arrays of Dask, and what is made of them by block.

Workers read the files themselves, and nothing but results comes here. Only `fit_incremental` adds
rows up; all else is to the bit what it is of arrays of numpy, whose blocks begin at the same rows.

    rows = spread_rows(dump.embeddings)              # (n, d), 16,384 rows a block
    map_rows(projection.apply, rows, 64, np.float32)
"""

from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import dask.array as da

Array = npt.NDArray[Any]
ROWS = 16_384
"""Of a block: a multiple of those that are projected together."""


def is_spread(array: Any) -> bool:
    """Whether it is one of Dask, whose rows lie elsewhere."""
    return hasattr(array, "dask")


def spread_rows(array: Array) -> "da.Array":
    """`(n, d)` of a memory-mapped file or a run of its rows, read by whoever works on a block.

    Of another array the rows are sent; one without columns stays as it is.
    """
    import dask.array as da  # late, as in all of this file: an extra

    if not array.shape[1]:
        return array
    blocks = _cut(len(array))
    first = _find_first(array)
    if first is None:
        return da.from_array(np.asarray(array), chunks=(blocks, -1))
    return da.map_blocks(
        _read_block,
        str(array.filename),  # type: ignore[attr-defined]
        first,
        chunks=(blocks, array.shape[1:]),
        dtype=array.dtype,
        meta=np.empty((0, 0), array.dtype),
    )


def _find_first(array: Array) -> int | None:
    """The row of a memory-mapped file that `array` begins at; `None` if it is no run of rows."""
    if not isinstance(array, np.memmap):
        return None
    whole: Array = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    forms = [(rows.dtype, rows.strides, rows.shape[1:]) for rows in (array, whole)]
    if forms[0] != forms[1]:
        return None
    return int(array.ctypes.data - whole.ctypes.data) // whole.strides[0]


def _read_block(path: str, first: int, block_info: Any = None) -> Array:
    start, stop = block_info[None]["array-location"][0]
    whole = np.load(path, mmap_mode="r", allow_pickle=False)
    return np.array(whole[first + start : first + stop])


def _cut(count: int) -> tuple[int, ...]:
    """Rows of each block: what is left over is a block of its own."""
    return tuple(min(ROWS, count - start) for start in range(0, count, ROWS)) or (0,)


def list_row_blocks(array: "da.Array") -> list[Any]:
    """Its blocks of `ROWS` rows, each a task."""
    whole = array.rechunk((_cut(len(array)), -1))
    return list(whole.to_delayed().ravel())


def map_rows(
    work: Callable[[Array], Array], array: "da.Array", width: int, dtype: npt.DTypeLike
) -> "da.Array":
    """`(n, width)`: `work` on each block, `(k, d)` to `(k, width)`."""
    whole = array.rechunk((_cut(len(array)), -1))
    return whole.map_blocks(
        work, chunks=(whole.chunks[0], (width,)), dtype=dtype, meta=np.empty((0, 0), dtype)
    )


def build_by_block(
    build: Callable[..., Array],
    shared: object,
    values: list[tuple[Any, ...]],
    arrays: list["da.Array"],
    width: int,
    count: int,
) -> "da.Array":
    """`(count, width)` float32 of `build(shared, *values of the block, *blocks of the arrays)`.

    `values`: of each block of `ROWS` rows what is sent there.
    """
    import dask.array as da
    from dask import delayed

    parts, held = [], delayed(shared, traverse=False)
    cut = [list_row_blocks(array) for array in arrays]
    for place, (size, own) in enumerate(zip(_cut(count), values, strict=True)):
        block = delayed(build)(held, *own, *(blocks[place] for blocks in cut))
        parts.append(da.from_delayed(block, (size, width), np.float32))
    return da.concatenate(parts)


def list_slices(count: int) -> list[slice]:
    """Rows of each block."""
    return [slice(start, start + ROWS) for start in range(0, max(count, 1), ROWS)]


def count_known(array: "da.Array") -> int:
    """Rows that hold no NaN."""
    return int((~np.isnan(array).any(axis=1)).sum().compute())


def fit_incremental(array: "da.Array", components: int) -> tuple[Array, Array]:
    """Mean `(d,)` and `components` components `(c, d)` of the rows without NaN, by scikit-learn's
    IncrementalPCA, block after block; no components of fewer rows than these.

    It cannot begin with fewer either: until there are enough, known rows wait for the next block. A
    block that is lost with its worker is read again: the order of blocks is that of the rows.
    """
    from dask import delayed
    from sklearn.decomposition import IncrementalPCA

    width = array.shape[1]
    learned = delayed((IncrementalPCA(components), np.empty((0, width), np.float32)))
    for block in list_row_blocks(array):
        learned = delayed(_learn)(learned, block)
    fitted, _ = learned.compute()
    if not hasattr(fitted, "components_"):
        return np.zeros(width), np.empty((0, width))
    return fitted.mean_, fitted.components_


def _learn(before: tuple[Any, Array], block: Array) -> tuple[Any, Array]:
    """A copy of the model that knows these rows too: Dask may ask for it twice; and what waits."""
    model, waiting = before
    rows = block[~np.isnan(block).any(axis=1)].astype(np.float32)
    rows = np.concatenate([waiting, rows])
    least = 1 if hasattr(model, "components_") else max(model.n_components, 2)  # one has no spread
    if len(rows) < least:
        return model, rows
    learned = deepcopy(model)
    with threadpool_limits(limits=1, user_api="blas"):
        learned.partial_fit(rows)
    return learned, rows[:0]
