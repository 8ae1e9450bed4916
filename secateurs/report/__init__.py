"""Records in, one self-contained HTML page out. Nothing here imports torch or touches the network.

``render`` and ``write`` make the page of one run; ``picture`` draws a small static SVG of it;
``write_inspection`` draws a network and what is tied in it. Other pages (comparisons, reproductions) are built from
the same parts: :mod:`.page` (shell, sections, figures on the page), :mod:`.tables`, :mod:`.figures` and
:mod:`.formats`.
"""

from .comparison import render_comparison, write_comparison
from .comparison_markdown import comparison_markdown, write_comparison_markdown
from .document import REPORT_FILE, render, write, write_reports
from .headline import headline
from .inspection import write_inspection
from .page import write_library
from .reproduction import write_reproduction
from .svg import picture

__all__ = [
    "REPORT_FILE",
    "comparison_markdown",
    "headline",
    "picture",
    "render",
    "render_comparison",
    "write",
    "write_comparison",
    "write_comparison_markdown",
    "write_inspection",
    "write_library",
    "write_reports",
    "write_reproduction",
]
