"""The model that people chat with: a conversation becomes one text, which the model goes on with."""

import threading
from typing import TYPE_CHECKING, Any

from textgym.training.settings import TrainSettings

from .chats import Answer, Exchange

if TYPE_CHECKING:
    from textgym.training.writing import Writer


class ModelAnswerer:
    """Answers with a language model, which is loaded when the first answer is due.

    A model whose tokenizer has a chat template is given the conversation in that form. Any other goes on with a plain
    text of one line a turn, cut at its beginning to what the model has room for.

    Args:
        model: A run folder, a model folder, a hub name or `"bundled"`.
        settings: Budget, temperature and rules of an answer.
    """

    def __init__(self, model: str, settings: TrainSettings) -> None:
        self.model = model
        self.settings = settings
        self._writer: Writer | None = None
        self._lock = threading.Lock()
        self._n_answers = 0

    def __call__(self, exchanges: list[Exchange], said: str) -> Answer:
        """Answer; one person at a time, since the model uses all cores or the whole device."""
        with self._lock:
            if self._writer is None:
                # torch and transformers take seconds to import, in which people can rate already.
                from textgym.cli.libraries import silence_libraries
                from textgym.training.writing import Writer

                silence_libraries()
                self._writer = Writer(self.model, self.settings)
            context = self._writer.fitting(to_context(self._writer.tokenizer, exchanges, said))
            self._n_answers += 1
            ((_, text),) = self._writer.write([context], seed=self._n_answers)
        return Answer(context, text)


def to_context(tokenizer: Any, exchanges: list[Exchange], said: str) -> str:
    """Return a conversation as the text that a model goes on with."""
    if getattr(tokenizer, "chat_template", None):
        messages = []
        for exchange in exchanges:
            messages.append({"role": "user", "content": exchange.said})
            messages.append({"role": "assistant", "content": exchange.answer})
        messages.append({"role": "user", "content": said})
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text
    return "\n".join([*(exchange.said + exchange.answer for exchange in exchanges), said])
