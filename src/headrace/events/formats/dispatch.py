"""Starting a workflow: GitHub's repository_dispatch, GitLab's pipeline triggers.

https://docs.github.com/rest/repos/repos#create-a-repository-dispatch-event,
https://docs.gitlab.com/api/pipeline_triggers. The webhook's secret is the token that they want.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from headrace.errors import InvalidParameter
from headrace.events.formats import free
from headrace.events.formats.message import Content, Message, json_content
from headrace.events.notice import shorten
from headrace.events.outgoing import Hook

#: GitHub refuses more than 64 KB; with 10 fields at most at the top.
_MAX_PAYLOAD = 60_000
_MAX_FIELDS = 10
_MAX_VARIABLE = 10_000


def check_github(hook: Hook) -> None:
    """Refuse a URL that dispatches nothing, and a webhook without a token.

    Raises:
        InvalidParameter: See above.
    """
    if not urlsplit(hook.url).path.rstrip("/").endswith("/dispatches"):
        raise InvalidParameter(
            "The URL of a 'github' webhook ends in /dispatches: https://api.github.com/repos/OWNER/REPO/dispatches"
        )
    if not hook.secret and not any(name.lower() == "authorization" for name in hook.headers):
        raise InvalidParameter(
            "A 'github' webhook needs a token with write access to contents: give it as the secret, or as an "
            "'Authorization' header."
        )


def github(message: Message) -> Content:
    """The event's type, and a payload of at most 10 fields."""
    event, notice = message.event, message.notice
    payload: Any
    if message.hook.template:
        payload = free.rendered(message)
        if not isinstance(payload, dict) or len(payload) > _MAX_FIELDS:
            raise InvalidParameter(
                f"The template must make a JSON object with at most {_MAX_FIELDS} fields: GitHub allows no more."
            )
    else:
        payload = {name: event.get(name, "") for name in ("type", "id", "subject", "time")}
        payload["actor"] = event.get("actor", "")
        payload["experiment_id"] = event.get("experimentid", "")
        payload |= {"title": notice.title, "text": notice.body, "link": notice.link}
        payload["data"] = event["data"]
        if len(msgspec.json.encode(payload)) > _MAX_PAYLOAD:
            payload["data"] = None
    if len(msgspec.json.encode(payload)) > _MAX_PAYLOAD:
        raise InvalidParameter(f"The template makes more than GitHub's {_MAX_PAYLOAD} bytes.")
    content = json_content({"event_type": event["type"][:100], "client_payload": payload})
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    if message.hook.secret:
        headers["Authorization"] = f"Bearer {message.hook.secret}"
    return msgspec.structs.replace(content, headers=headers)


def check_gitlab(hook: Hook) -> None:
    """Refuse a URL that triggers nothing, and a webhook without a token or branch.

    Raises:
        InvalidParameter: See above.
    """
    parts = urlsplit(hook.url)
    query = parse_qs(parts.query)
    path = parts.path.rstrip("/")
    if not path.endswith("/trigger/pipeline") or not ("ref" in query or "/ref/" in path):
        raise InvalidParameter(
            "The URL of a 'gitlab' webhook says what to run: "
            "https://gitlab.com/api/v4/projects/ID/trigger/pipeline?ref=BRANCH"
        )
    if not hook.secret and "token" not in query:
        raise InvalidParameter(
            "A 'gitlab' webhook needs a pipeline trigger token: give it as the secret."
        )


def gitlab(message: Message) -> Content:
    """Variables of a pipeline, as a form."""
    event, notice = message.event, message.notice
    if message.hook.template:
        made = free.rendered(message)
        if not isinstance(made, dict) or not all(isinstance(one, str) for one in made.values()):
            raise InvalidParameter("The template must make a JSON object of texts, the variables.")
        variables = made
    else:
        variables = {
            "HEADRACE_EVENT_TYPE": event["type"],
            "HEADRACE_EVENT_ID": event["id"],
            "HEADRACE_EVENT_TIME": event["time"],
            "HEADRACE_SUBJECT": event["subject"],
            "HEADRACE_EXPERIMENT_ID": event.get("experimentid", ""),
            "HEADRACE_TITLE": notice.title,
            "HEADRACE_TEXT": notice.body,
            "HEADRACE_LINK": notice.link,
            "HEADRACE_EVENT": message.raw.decode() if len(message.raw) <= _MAX_VARIABLE else "",
        }
    form = {f"variables[{key}]": shorten(text, _MAX_VARIABLE) for key, text in variables.items()}
    if message.hook.secret:
        form["token"] = message.hook.secret
    return Content(type="application/x-www-form-urlencoded", body=urlencode(form).encode())
