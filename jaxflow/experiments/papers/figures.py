"""The figures that the two papers print in their tables, typed from them, with their source."""

import re
from collections.abc import Mapping, Sequence

from jaxflow.reports.compared import PublishedRow, PublishedTable

IMAGE, PIXEL, PRO = "image_auroc", "pixel_auroc", "pixel_aupro"
MVTEC = 15


def _means(
    source: str,
    metrics: Sequence[str],
    rows: Mapping[str, Sequence[float | None]],
    categories: int = MVTEC,
) -> PublishedTable:
    """Make a table of means only; figures in percent, None for a dash."""
    return PublishedTable(
        source,
        {
            name: PublishedRow(
                {
                    m: round(f / 100, 6)
                    for m, f in zip(metrics, figures, strict=True)
                    if f is not None
                },
                categories,
                {},
            )
            for name, figures in rows.items()
        },
    )


def _by_category(
    source: str, columns: Mapping[str, Sequence[str]], text: str, unit: float = 0.01
) -> PublishedTable:
    """Make a table with a line for each category, the mean last.

    Args:
      source: paper, table and section.
      columns: name of the row that a column becomes -> the metrics of its cells.
      text: a line each: the category, then for each column its figures with slashes between,
        each perhaps with ±deviation; a dash where nothing is printed.
      unit: what a figure is multiplied by to become a fraction.
    """
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in columns}
    lines = [line.split() for line in text.strip().splitlines()]
    for category, *cells in lines:
        for (name, metrics), cell in zip(columns.items(), cells, strict=True):
            for metric, figure in zip(metrics, cell.split("/"), strict=True):
                if match := re.fullmatch(r"([\d.]+)(?:±([\d.]+))?", figure):
                    place = found[name].setdefault(category, {})
                    place[metric] = round(float(match[1]) * unit, 6)
                    if match[2]:
                        place[f"{metric}_std"] = round(float(match[2]) * unit, 6)
                elif figure != "-":
                    raise ValueError(f"{source}: {category}: no figure {figure!r}")
    return PublishedTable(
        source,
        {
            name: PublishedRow(figures.pop("mean"), len(lines) - 1, figures)
            for name, figures in found.items()
        },
    )


_FASTFLOW = "FastFlow, arXiv 2111.07677"
_CFLOW = "CFLOW-AD, arXiv 2107.12571"
_BOTH = (IMAGE, PIXEL)

FIGURES: dict[str, PublishedTable] = {
    # Its SPADE on ResNet18 has no figures.
    "fastflow-1": _means(
        f"{_FASTFLOW}, Table 1 (section 4.2)",
        _BOTH,
        {
            "CaiT + PatchCore": (97.9, 96.5),
            "CaiT + CFlow": (97.7, 96.2),
            "CaiT + FastFlow": (99.4, 98.5),
            "DeiT + PatchCore": (96.5, 97.9),
            "DeiT + CFlow": (95.6, 97.9),
            "DeiT + FastFlow": (98.7, 98.1),
            "ResNet18 + CFlow": (96.8, 98.1),
            "ResNet18 + FastFlow": (97.9, 97.2),
            "Wide-ResNet50-2 + SPADE": (96.2, 96.5),
            "Wide-ResNet50-2 + PatchCore": (99.1, 98.1),
            "Wide-ResNet50-2 + CFlow": (98.3, 98.6),
            "Wide-ResNet50-2 + FastFlow": (99.3, 98.1),
        },
    ),
    "fastflow-2": _by_category(
        f"{_FASTFLOW}, Table 2 (section 4.3)",
        dict.fromkeys(
            ["PatchSVDD", "SPADE", "DifferNet", "PaDiM", "CutPaste", "PatchCore", "CFlow"]
            + ["FastFlow"],
            _BOTH,
        ),
        """
        carpet     92.9/92.6  98.6/97.5 84.0/- -/99.1    100.0/98.3 98.7/98.9  100.0/99.3 100.0/99.4
        grid       94.6/96.2  99.0/93.7 97.1/- -/97.3    96.2/97.5  98.2/98.7  97.6/99.0  99.7/98.3
        leather    90.9/97.4  99.5/97.6 99.4/- -/99.2    95.4/99.5  100.0/99.3 97.7/99.7  100.0/99.5
        tile       97.8/91.4  89.8/87.4 92.9/- -/94.1    100.0/90.5 98.7/95.6  98.7/98.0  100.0/96.3
        wood       96.5/90.8  95.8/88.5 99.8/- -/94.9    99.1/95.5  99.2/95.0  99.6/96.7  100.0/97.0
        bottle     98.6/98.1  98.1/98.4 99.0/- -/98.3    99.9/97.6  100.0/98.6 100.0/99.0 100.0/97.7
        cable      90.3/96.8  93.2/97.2 86.9/- -/96.7    100.0/90.0 99.5/98.4  100.0/97.6 100.0/98.4
        capsule    76.7/95.8  98.6/99.0 88.8/- -/98.5    98.6/97.4  98.1/98.8  99.3/99.0  100.0/99.1
        hazelnut   92.0/97.5  98.9/99.1 99.1/- -/98.2    93.3/97.3  100.0/98.7 96.8/98.9  100.0/99.1
        metal_nut  94.0/98.0  96.9/98.1 95.1/- -/97.2    86.6/93.1  100.0/98.4 91.9/98.6  100.0/98.5
        pill       86.1/95.1  96.5/96.5 95.9/- -/95.7    99.8/95.7  96.6/97.1  99.9/99.0  99.4/99.2
        screw      81.3/95.7  99.5/98.9 99.3/- -/98.5    90.7/96.7  98.1/99.4  99.7/98.9  97.8/99.4
        toothbrush 100.0/98.1 98.9/97.9 96.1/- -/98.8    97.5/98.1  100.0/98.7 95.2/99.0  94.4/98.9
        transistor 91.5/97.0  81.0/94.1 96.3/- -/97.5    99.8/93.0  100.0/96.3 99.1/98.0  99.8/97.3
        zipper     97.9/95.1  98.8/96.5 98.6/- -/98.5    99.9/99.3  98.8/98.8  98.5/99.1  99.5/98.7
        mean       92.1/95.7  96.2/96.5 94.9/- 97.9/97.5 97.1/96.0  99.1/98.1  98.3/98.6  99.4/98.5
        """,
    ),
    # The paper numbers the categories 0 to 2, the data set's folders 01 to 03.
    "fastflow-3": _by_category(
        f"{_FASTFLOW}, Table 3 (section 4.3)",
        dict.fromkeys(["AE MSE", "AE MSE+SSIM", "VT-ADL", "FastFlow"], (PIXEL,)),
        """
        01   0.49 0.53 0.99 0.95
        02   0.92 0.96 0.94 0.96
        03   0.95 0.89 0.77 0.99
        mean 0.78 0.79 0.90 0.97
        """,
        unit=1.0,
    ),
    "fastflow-4": _means(
        f"{_FASTFLOW}, Table 4 (section 4.3)",
        (IMAGE,),
        {
            "OC-SVM": (58.6,),
            "KDE": (61.0,),
            "l2-AE": (53.6,),
            "VAE": (58.3,),
            "Pixel CNN": (55.1,),
            "LSA": (64.1,),
            "AnoGAN": (61.8,),
            "DSVDD": (64.8,),
            "OCGAN": (65.6,),
            "FastFlow": (66.7,),
        },
        categories=10,
    ),
    "fastflow-5": _means(
        f"{_FASTFLOW}, Table 5 (section 4.4)",
        _BOTH,
        {
            "DeiT 3-1": (98.7, 98.1),
            "DeiT 3-3": (98.7, 98.3),
            "CaiT 3-1": (99.4, 98.5),
            "CaiT 3-3": (98.9, 98.5),
            "ResNet18 3-1": (97.3, 96.8),
            "ResNet18 3-3": (97.9, 97.2),
            "Wide-ResNet50-2 3-1": (99.3, 98.1),
            "Wide-ResNet50-2 3-3": (98.2, 97.6),
        },
    ),
    "fastflow-7": _means(
        f"{_FASTFLOW}, Table 7 (supplement 6.1)",
        _BOTH,
        {
            "CaiT 0.16x": (99.4, 98.5),
            "CaiT 0.33x": (98.9, 98.4),
            "Wide-ResNet50-2 0.25x": (98.9, 98.0),
            "Wide-ResNet50-2 0.5x": (99.1, 98.1),
            "Wide-ResNet50-2 1.0x": (99.3, 98.1),
            "Wide-ResNet50-2 2.0x": (99.4, 98.1),
        },
    ),
    "fastflow-8": _means(
        f"{_FASTFLOW}, Table 8 (supplement 6.2)",
        _BOTH,
        {
            "CaiT w/o": (99.3, 98.4),
            "CaiT w": (99.4, 98.5),
            "Wide-ResNet50-2 w/o": (98.9, 98.2),
            "Wide-ResNet50-2 w": (99.3, 98.1),
        },
    ),
    "cflow-2": _by_category(
        f"{_CFLOW}, Table 2 (section 5.2; mean and deviation of four runs)",
        dict.fromkeys(
            [
                "WRN50 4 CL 2 PL 256",
                "WRN50 8 CL 2 PL 256",
                "WRN50 8 CL 3 PL 256",
                "WRN50 8 CL 3 PL 512",
                "WRN50 8 CL 3 PL 512 UFLOW",
                "R18 8 CL 3 PL 256",
                "R18 8 CL 3 PL 512",
                "MNetV3 8 CL 3 PL 256",
                "MNetV3 8 CL 3 PL 512",
            ],
            (PIXEL,),
        ),
        # Columns as in the paper; ± binds a deviation to its figure.
        """
bottle     97.28±0.03 97.24±0.03 98.76±0.01 98.98±0.01 98.83±0.01 98.47±0.03 98.64±0.01 98.74 98.92
cable      95.71±0.01 96.17±0.07 97.64±0.04 97.12±0.06 95.29±0.04 96.75±0.04 96.07±0.06 97.62 97.49
capsule    98.17±0.02 98.19±0.05 98.98±0.00 98.64±0.02 98.40±0.12 98.62±0.02 98.28±0.05 98.89 98.75
carpet     98.50±0.01 98.55±0.01 99.23±0.01 99.25±0.01 99.24±0.00 99.00±0.01 99.29±0.00 98.64 99.00
grid       93.77±0.05 93.88±0.16 96.89±0.02 98.99±0.02 98.74±0.00 93.95±0.04 98.53±0.01 94.75 98.81
hazelnut   98.08±0.01 98.13±0.02 98.82±0.01 98.89±0.01 98.88±0.01 98.81±0.01 98.41±0.01 98.88 99.00
leather    98.92±0.02 99.00±0.06 99.61±0.01 99.66±0.00 99.65±0.00 99.45±0.01 99.51±0.02 99.50 99.64
metal_nut  96.72±0.03 96.72±0.06 98.56±0.03 98.25±0.04 98.16±0.03 97.59±0.05 96.42±0.03 98.36 98.78
pill       98.46±0.02 98.46±0.01 98.95±0.00 98.52±0.05 98.20±0.08 98.34±0.02 97.80±0.05 98.69 98.44
screw      94.98±0.06 95.28±0.06 98.10±0.05 98.86±0.02 98.78±0.01 97.38±0.03 98.40±0.03 98.04 99.09
tile       95.52±0.02 95.66±0.06 97.71±0.02 98.01±0.01 97.98±0.02 95.10±0.02 95.80±0.10 96.07 96.48
toothbrush 98.02±0.03 97.98±0.00 98.56±0.02 98.93±0.00 98.89±0.00 98.44±0.02 99.00±0.01 98.09 98.80
transistor 93.09±0.28 94.05±0.11 93.28±0.40 80.52±0.13 76.28±0.14 92.71±0.23 83.34±0.46 97.79 95.22
wood       90.65±0.10 90.59±0.07 94.49±0.03 96.65±0.01 96.56±0.02 93.51±0.03 95.00±0.04 92.24 94.96
zipper     96.80±0.02 97.01±0.05 98.41±0.09 99.08±0.02 99.06±0.01 97.71±0.06 98.98±0.01 97.50 99.07
mean       96.31      96.46      97.87      97.36      96.86      97.06      96.90      97.59 98.16
        """,
    ),
    "cflow-3": _by_category(
        f"{_CFLOW}, Table 3 (section 5.3)",
        {
            "CutPaste R18": _BOTH,
            "CFLOW-AD R18": _BOTH,
            "CutPaste EffNetB4": (IMAGE,),
            "SPADE WRN50": (PIXEL, PRO),
            "PaDiM WRN50": (PIXEL, PRO),
            "CFLOW-AD WRN50": (IMAGE, PIXEL, PRO),
        },
        """
        bottle     98.3/97.6  100.00/98.64 100.0 98.4/95.5 98.3/94.8 100.0/98.98/96.80
        cable      80.6/90.0  97.62/96.75  96.2  97.2/90.9 96.7/88.8 97.59/97.64/93.53
        capsule    96.2/97.4  93.15/98.62  95.4  99.0/93.7 98.5/93.5 97.68/98.98/93.40
        carpet     93.1/98.3  98.20/99.29  100.0 97.5/94.7 99.1/96.2 98.73/99.25/97.70
        grid       99.9/97.5  98.97/98.53  99.1  93.7/86.7 97.3/94.6 99.60/98.99/96.08
        hazelnut   97.3/97.3  99.91/98.81  99.9  99.1/95.4 98.2/92.6 99.98/98.89/96.68
        leather    100.0/99.5 100.00/99.51 100.0 97.6/97.2 98.9/88.8 100.0/99.66/99.35
        metal_nut  99.3/93.1  98.45/97.59  98.6  98.1/94.4 97.2/85.6 99.26/98.56/91.65
        pill       92.4/95.7  93.02/98.34  93.3  96.5/94.6 95.7/92.7 96.82/98.95/95.39
        screw      86.3/96.7  85.94/98.40  86.6  98.9/96.0 98.5/94.4 91.89/98.86/95.30
        tile       93.4/90.5  98.40/95.80  99.8  87.4/75.9 94.1/86.0 99.88/98.01/94.34
        toothbrush 98.3/98.1  99.86/99.00  90.7  97.9/93.5 98.8/93.1 99.65/98.93/95.06
        transistor 95.5/93.0  93.04/97.69  97.5  94.1/87.4 97.5/84.5 95.21/97.99/81.40
        wood       98.6/95.5  98.59/95.00  99.8  88.5/97.4 94.9/91.1 99.12/96.65/95.79
        zipper     99.4/99.3  96.15/98.98  99.9  96.5/92.6 98.5/95.9 98.48/99.08/96.60
        mean       95.2/96.0  96.75/98.06  97.1  96.0/91.7 97.5/92.1 98.26/98.62/94.60
        """,
    ),
    "cflow-4": _means(
        f"{_CFLOW}, Table 4 (section 5.3)",
        (IMAGE, PIXEL, PRO),
        {
            "DifferNet": (94.9, None, None),
            "DFR": (None, 95.0, 91.0),
            "SVDD": (92.1, 95.7, None),
            "SPADE": (85.5, 96.0, 91.7),
            "CutPaste": (97.1, 96.0, None),
            "PaDiM": (97.9, 97.5, 92.1),
            "CFLOW-AD": (98.26, 98.62, 94.60),
        },
    ),
    # Scene 13 of the 13 has no test frames.
    "cflow-5": _means(
        f"{_CFLOW}, Table 5 (section 5.3)",
        _BOTH,
        {
            "CAVGA": (None, 85.0),
            "SPADE": (71.9, 89.9),
            "PaDiM": (None, 91.2),
            "CFLOW-AD": (72.63, 94.48),
        },
        categories=12,
    ),
}
