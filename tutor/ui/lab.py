"""The Lab page: runs that make a model write (`lab_runs.py`) are an event with the chat's slots, the rest are calls.

What is done is `tutor.lab`'s and `tutor.lab_*`'s, how it looks the `lab_*_view.py`s'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from db import jobs, registry, usage
from tutor.lab import Lab
from tutor.lab_account import make_account
from tutor.lab_bench import ReviewBench, bench_file
from tutor.lab_tokens import Tokens
from tutor.models import model_folder, weights_sha256
from tutor.ui import lab_account_view, lab_bench_view, lab_view, layout
from tutor.ui import lab_runs_view as runs_view
from tutor.ui.calls import UNREADABLE, number_of, text_of, told, value
from tutor.ui.chat import GENERATING
from tutor.ui.lab_runs import LabRuns

if TYPE_CHECKING:
    from tutor.services import Services
    from tutor.ui.library import Library
    from tutor.ui.live import LiveTurns


class LabPage:
    """Handlers of the Lab page."""

    def __init__(self, services: Services, library: Library, live: LiveTurns) -> None:
        self._services = services
        self._database = services.database
        self._lab = Lab(services)
        self._runs = LabRuns(self._lab, services.database, library, live)
        self._tokens = Tokens(services.settings)
        file = bench_file(services.settings.home, services.learner_id)
        self._bench = ReviewBench(services.retriever.embedder, file)

    def build(self, blocks: gr.Blocks) -> None:
        """Lay the page out and connect it."""
        layout.header("Lab")
        on_weights = [self.read_weights, self.registry, self.account, self.pieces, self.remove_note]
        on_bench = [self.bench_add, self.bench_label, self.bench_remove, self.bench_step, self.infer]
        body = layout.surface("lab", "lab", [*on_weights, *on_bench])
        wired = layout.surface("lab-wire", "labWire")
        context = gr.Textbox(visible=False)
        stop = gr.Button("Stop", elem_id="lab-stop")
        blocks.load(self.open, outputs=body, queue=False, show_progress="hidden", api_visibility="private")
        wired.submit(
            self._runs.run,
            inputs=context,
            outputs=wired,
            js="() => window.studyTutor.labOutgoing()",
            show_progress="hidden",
            api_visibility="private",
            **GENERATING,
        )
        stop.click(self._runs.stop, queue=False, show_progress="hidden", api_visibility="private")

    def open(self) -> str:
        """The page before anything is run; whatever a killed run left is put away."""
        self._lab.tidy()
        note = self._lab.note()
        bench = lab_bench_view.bench(self._bench.state())
        return lab_view.page(self._lab.base, self._lab.chosen(), note, bench)

    def read_weights(self, sent: Any) -> dict[str, Any]:
        """{} -> the weights as the disk has them now."""

        def work() -> dict[str, Any]:
            if not self._lab.has_weights:
                return {"error": "A server answers, and its weights can’t be read here."}
            chosen = self._lab.chosen()
            name = chosen.name if chosen else None
            base, both = self._lab.read_weights(name)
            rows = [("Base", base), *([(f"Base + {name}", both)] if both else [])]
            return {"html": runs_view.read_now(rows)}

        return told(work)

    def registry(self, sent: Any) -> dict[str, Any]:
        """{} -> the base and all adapters."""

        def work() -> dict[str, Any]:
            lab, settings = self._lab, self._services.settings
            base = weights_sha256(model_folder(settings), settings.models_dir) if lab.has_weights else ""
            return {"html": runs_view.registry_table(lab.base, base, lab.adapters(), lab.served())}

        return told(work)

    def account(self, sent: Any) -> dict[str, Any]:
        """{} -> what training and answering have cost."""

        def work() -> dict[str, Any]:
            with self._database.session(readonly=True) as session:
                found = make_account(
                    jobs.list_jobs(session), registry.list_adapters(session), usage.turn_usage(session)
                )
            return {"html": lab_account_view.account(found)}

        return told(work)

    def pieces(self, sent: Any) -> dict[str, Any]:
        """{text} -> its tokens."""

        def work() -> dict[str, Any]:
            text = value(sent, "text")
            if not isinstance(text, str):
                return {"error": UNREADABLE}
            return {"html": lab_account_view.tokens(self._tokens.pieces(text), text)}

        return told(work)

    def remove_note(self, sent: Any) -> dict[str, Any]:
        """{} -> the page is out of the index."""

        def work() -> dict[str, Any]:
            self._lab.remove_note()
            return {"html": runs_view.note_status(None)}

        return told(work)

    def bench_add(self, sent: Any) -> dict[str, Any]:
        """{text, label} -> the bench with a review more."""
        return self._on_bench(lambda: self._bench.add(text_of(sent, "text"), text_of(sent, "label") or None))

    def bench_label(self, sent: Any) -> dict[str, Any]:
        """{review, label} -> the bench."""
        label = text_of(sent, "label") or None
        return self._on_bench(lambda: self._bench.label(number_of(sent, "review") or 0, label))

    def bench_remove(self, sent: Any) -> dict[str, Any]:
        """{review} -> the bench with a review less."""
        return self._on_bench(lambda: self._bench.remove(number_of(sent, "review") or 0))

    def bench_step(self, sent: Any) -> dict[str, Any]:
        """{step: clean, train, evaluate, deploy or reset} -> the bench after it."""
        bench = self._bench
        steps = {
            "clean": bench.clean,
            "train": bench.train,
            "evaluate": bench.evaluate,
            "deploy": bench.deploy,
            "reset": bench.reset,
        }
        step = steps.get(text_of(sent, "step", 20))
        return self._on_bench(step) if step else {"error": UNREADABLE}

    def infer(self, sent: Any) -> dict[str, Any]:
        """{text} -> what the deployed classifier says of it."""
        return told(lambda: {"html": lab_bench_view.inferred(self._bench.infer(text_of(sent, "text")))})

    def _on_bench(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return told(lambda: {"html": lab_bench_view.bench(work())})
