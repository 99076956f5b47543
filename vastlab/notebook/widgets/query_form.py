"""The fields and buttons of a form for queries."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets

from vastlab import _text
from vastlab.notebook.options import MODES

_LARGEST_LIMIT = 2**31 - 1


def forms(here: str, profiles: Sequence[str]) -> dict[str, widgets.Widget]:
    """Return a field for each trait of a query box; `here` names what is asked without a profile.

    Parameters
    ----------
    here
        Such as an endpoint.
    profiles
        What can be asked instead.
    """
    return {
        "mode": _mode_form(),
        "limit": _limit_form(),
        "since": _bound_form("since", "2026-03-02 or 2h"),
        "until": _bound_form("until", "exclusive"),
        "profile": _profile_form(here, profiles),
        "expression": widgets.Textarea(
            placeholder="a VAST expression, such as  resp_p == 443 && id.orig_h in 10.0.0.0/8",
            rows=2,
            layout=widgets.Layout(width="auto"),
        ),
    }


def back_button() -> widgets.Button:
    """Return the button that asks the question before."""
    return widgets.Button(
        description="Back",
        icon="arrow-left",
        tooltip="the question before",
        disabled=True,
        layout=widgets.Layout(width="6em"),
    )


def past_form() -> widgets.Combobox:
    """Return the field that finds what was asked before."""
    return widgets.Combobox(
        placeholder="history: type a part of what was asked before",
        layout=widgets.Layout(width="auto", flex="1 1 24em"),
        continuous_update=False,
    )


def _mode_form() -> widgets.ToggleButtons:
    return widgets.ToggleButtons(
        options=MODES,
        tooltips=("what is stored", "what arrives from now on", "first the one, then the other"),
        style={"button_width": "auto"},
    )


def _limit_form() -> widgets.BoundedIntText:
    return widgets.BoundedIntText(
        max=_LARGEST_LIMIT,
        description="limit",
        tooltip="the largest number of events; 0 for all",
        style={"description_width": "auto"},
        layout=widgets.Layout(width="9em"),
    )


def _bound_form(name: str, placeholder: str) -> widgets.Text:
    return widgets.Text(
        placeholder=placeholder,
        description=name,
        style={"description_width": "auto"},
        layout=widgets.Layout(width="14em"),
        continuous_update=False,
    )


def _profile_form(here: str, profiles: Sequence[str]) -> widgets.Dropdown:
    named = [(_text.short(name, 40), name) for name in profiles]
    return widgets.Dropdown(
        options=[(_text.short(here, 40), ""), *named],
        description="profile",
        style={"description_width": "auto"},
        layout=widgets.Layout(width="16em", display=None if named else "none"),
    )
