"""Log and progress: a command shows them, a library shows nothing."""

import contextlib
import io
import logging

import pytest

from mmsent.data.check import check_dataset
from mmsent.files.console import LOGGERS, console
from mmsent.files.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def work():
    with Progress("working", 3, "things") as progress:
        for _ in range(3):
            progress.update()


@contextlib.contextmanager
def terminal():
    with contextlib.redirect_stderr(Terminal()) as file:
        yield file


def test_a_library_logs_and_shows_nothing(caplog, sample):
    with caplog.at_level(logging.INFO, "mmsent"), terminal() as file:
        check_dataset(sample)
    assert caplog.messages[0].startswith("checking: 90 pairs in ")
    assert file.getvalue() == ""


def test_a_command_shows_a_bar_and_a_line_on_a_terminal():
    with terminal() as file, console():
        work()
    assert "| 0/3 [" in file.getvalue()
    assert file.getvalue().rpartition("\r")[2].startswith("working: 3 things in ")


def test_a_bar_shows_a_note_and_the_time_left_for_what_follows(monkeypatch):
    """At one second per item: after two of three, one is left, and six follow."""
    seconds = iter(range(99))
    monkeypatch.setattr("mmsent.files.progress.time.perf_counter", lambda: next(seconds))
    with terminal() as file, console(), Progress("working", 3, "things", later=6) as progress:
        progress.update(1, "loss 0.5")
        progress.update(1, "loss 0.4")
        progress.bar.refresh()
    assert ", loss 0.4, 00:07 left in all]" in file.getvalue()


def test_without_a_terminal_there_is_only_the_line(run_command, sample):
    result = run_command("mmsent", "check-data", cwd=sample)
    assert result.err.startswith("checking: 90 pairs in ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("name", ["mmsent.a", "mmsent_training.b", "mmsent_export.c"])
def test_messages_have_no_prefix_and_go_to_the_current_stderr(name):
    with console(), terminal() as file:
        logging.getLogger(name).info("100%% of %s", "it")
        logging.getLogger(name).debug("details")
        logging.getLogger("others").info("theirs")
    assert file.getvalue() == "100% of it\n"


def test_logging_is_restored_afterwards():
    def state():
        return [(logger.level, logger.handlers[:]) for logger in map(logging.getLogger, LOGGERS)]

    before = state()
    with terminal() as file:
        with pytest.raises(ValueError), console():
            raise ValueError
        work()
    assert state() == before
    assert file.getvalue() == ""
