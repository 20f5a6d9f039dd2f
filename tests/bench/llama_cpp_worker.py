"""Worker: llama-cpp-python over the same model file. Runs in an environment of its own, outside the project."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from worker import row, serve


def prepare():  # type: ignore[no-untyped-def]
    from llama_cpp import Llama

    threads = int(sys.argv[2])
    model = Llama(sys.argv[1], n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)
    never_end = {model.token_eos(): -100.0}  # so that it writes as many tokens as we did

    def answer(request):  # type: ignore[no-untyped-def]
        start = time.perf_counter()
        times = []
        for chunk in model.create_chat_completion(
            request["messages"],
            max_tokens=request["tokens"],
            temperature=0.0,
            repeat_penalty=1.0,
            logit_bias=never_end,
            stream=True,
        ):
            if chunk["choices"][0]["delta"].get("content"):
                times.append(time.perf_counter() - start)
        total = time.perf_counter() - start
        return {"row": row(times, total, model.n_tokens - request["tokens"] + 1, request["tokens"])}

    return answer


if __name__ == "__main__":
    serve(prepare)
