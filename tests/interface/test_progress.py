"""Words for what takes long: stages, steps with their unit, the time that is left."""

import time

import pytest

from tensorprog.progress import Bar, announce, shown


class Listener:
    def __init__(self):
        self.heard = []

    def __call__(self, done, total):
        self.heard.append((done, total))

    def stage(self, text):
        self.heard.append(text)


def test_stages_reach_whoever_is_called_with_steps():
    listener = Listener()
    announce("to nobody")
    with shown(listener) as report:
        announce("planning")
        with shown(lambda done, total: report(done + 1, total)) as inner:
            announce("compiling")
            inner(1, 3)
    announce("to nobody")
    assert listener.heard == ["planning", "compiling", (2, 3)]


def test_nothing_is_said_to_nobody():
    with shown(None) as report:
        announce("planning")
        assert report is None


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("tensorprog.progress.time.monotonic", lambda: now[0])
    return now


def test_steps_have_a_unit_and_the_time_that_is_left(capsys, clock):
    with Bar(True, "width 64 ", "networks") as bar:
        for done, at in ((0, 100.0), (1, 150.0), (2, 151.0), (3, 250.0)):
            clock[0] = at
            bar(done, 100)
    assert capsys.readouterr().err.splitlines() == [
        "width 64 0/100 networks", "width 64 1/100 networks, 1:22:30 left", "width 64 3/100 networks, 1:20:50 left"]


def test_a_short_stage_is_not_worth_a_word(capsys, monkeypatch):
    with Bar(True) as bar:
        bar.stage("planning")
        bar.stage("compiling")
    monkeypatch.setattr(Bar, "PATIENCE", 0.0)
    with Bar(True) as bar, shown(bar):
        announce("running")
        deadline = time.monotonic() + 20
        while not bar.last and time.monotonic() < deadline:
            time.sleep(0.01)
    assert capsys.readouterr().err == "running ...\n"


def test_who_wants_no_words_hears_none(capsys):
    with Bar(False) as bar:
        bar.stage("planning")
        bar(1, 2)
    assert capsys.readouterr().err == ""
