"""The kinds of people that a load test simulates."""

from __future__ import annotations

import random
from typing import Any

from locust import FastHttpUser, between, task

from loadtests.sample import SampleCode, sample

BROWSER = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
)
"""Scans of what does not look like a browser are counted apart."""


class Person(FastHttpUser):
    """Anybody who asks the service for something."""

    abstract = True
    connection_timeout = 10.0
    network_timeout = 10.0

    def on_start(self) -> None:
        """Learn what there is."""
        self.sample = sample()

    def code(self) -> SampleCode:
        """One of the codes."""
        return random.choice(self.sample.codes)

    def ask(self, name: str, path: str, expected: int, **options: Any) -> Any:
        """GET `path`; anything but the expected status is a failure. The answer."""
        with self.client.get(path, name=name, catch_response=True, **options) as response:
            if response.status_code == expected:
                response.success()
            else:
                response.failure(f"{response.status_code} instead of {expected}")
            return response


class Scanner(Person):
    """Somebody in the street: scans a code and goes on to where it leads."""

    weight = 6
    wait_time = between(0.02, 0.06)

    @task
    def scan(self) -> None:
        """Scan a code, without fetching the page behind it."""
        self.ask(
            "scan",
            f"/r/{self.code().slug}",
            302,
            allow_redirects=False,
            headers={"User-Agent": BROWSER},
        )


class Colleague(Person):
    """Somebody who signs in first, in his role in the organisation."""

    abstract = True
    wait_time = between(0.05, 0.15)
    role: str

    def on_start(self) -> None:
        """Sign in; the cookie stays with the client."""
        super().on_start()
        credentials = {"email": self.sample.emails[self.role], "password": self.sample.password}
        with self.client.post(
            "/api/session", json=credentials, name="sign in", catch_response=True
        ) as response:
            if response.status_code == 201:
                response.success()
            else:
                response.failure(f"{response.status_code} instead of 201")

    def path(self, rest: str) -> str:
        """The address of something that belongs to the organisation."""
        return f"/api/organizations/{self.sample.organization}/{rest}"


class Member(Colleague):
    """Looks at codes; the browser has seen each image before when it asks again."""

    weight = 2
    role = "member"

    @task
    def image(self) -> None:
        """Fetch an image, and once more with its entity tag."""
        path = self.path(f"qr-codes/{self.code().id}/image?size={random.choice((200, 300, 600))}")
        answer = self.ask("image", path, 200)
        tag = answer.headers.get("ETag") if answer.status_code == 200 else None
        if tag:
            self.ask("image, unchanged", path, 304, headers={"If-None-Match": tag})


class Analyst(Colleague):
    """Watches the numbers."""

    weight = 2
    role = "analyst"

    @task
    def timeline(self) -> None:
        """The last seven days of a code."""
        self.ask("timeline", self.path(f"qr-codes/{self.code().id}/timeline?period=7d"), 200)

    @task
    def stats(self) -> None:
        """The totals of a code."""
        self.ask("stats", self.path(f"qr-codes/{self.code().id}/stats"), 200)
