"""Word document -> Document: headings by style or outline level, lists, tables, code and quotations as Markdown.

python-docx opens the package; `docx_body.py` walks its body. A footnote stands after the paragraph that
refers to it. Left out: headers and footers, comments, deletions.
"""

from __future__ import annotations

import io
from zipfile import BadZipFile

from retrieval.loaders import LoadError, markdown, writer
from retrieval.loaders.docx_body import Body
from retrieval.loaders.zipped import Parts, refuse_entities
from retrieval.records import Document

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

_NO_TITLE = {"", "word document", "microsoft word document", "document", "untitled"}


def load(path_label: str, data: bytes) -> Document:
    """Read a .docx. The title is the paragraph styled "Title", else the first level-1 heading, else the document's
    property, else the file's name.

    Raises LoadError: damaged, encrypted, a bomb.
    """
    import docx
    from docx.opc.exceptions import OpcError
    from lxml.etree import LxmlError

    parts = Parts(data)
    for name in parts.names():
        if name.endswith((".xml", ".rels")):
            refuse_entities(parts.read(name))
    try:
        opened = docx.Document(io.BytesIO(data))
        body = Body(opened)
        text = writer.join(body.blocks())
    except (OpcError, LxmlError, BadZipFile, KeyError, ValueError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise LoadError(
            f"damaged: Word's own parts don't fit together ({reason}); save it again in Word"
        ) from None
    title = body.title
    if not title and not body.has_h1:
        title = (opened.core_properties.title or "").strip()
        title = "" if title.lower() in _NO_TITLE else title
    return markdown.build(path_label, text, MEDIA_TYPE, title, {})
