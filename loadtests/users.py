"""The kinds of people that a load test simulates."""

from __future__ import annotations

import random
from typing import Any

from locust import FastHttpUser, between, constant, task

from core.domain.codes import random_slug
from loadtests.sample import SampleCode, sample
from loadtests.seed import popularity

BROWSERS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36",
)
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
"""Scans of what does not look like a browser are counted apart."""

UNKNOWN_SHARE, BOT_SHARE = 0.02, 0.05
SHOWN = 25
"""So many of the most popular codes stand on pages, and in the list that members open first."""

SIZES = ("", "", "", "?format=svg")
"""What members look at: a code as it is, mostly."""

AGAIN = 0.5
"""The share of images that a browser still has when it is asked for them."""

BULK = 20


class Person(FastHttpUser):
    """Anybody who asks the service for something."""

    abstract = True
    connection_timeout = 10.0
    network_timeout = 10.0

    def on_start(self) -> None:
        """Learn what there is."""
        self.sample = sample()
        self.all = self.sample.codes
        self.shown = self.sample.codes[:SHOWN]
        self.weights = popularity(len(self.all))
        self.tags: dict[str, str] = {}

    def code(self) -> SampleCode:
        """One of all codes, by its popularity."""
        return random.choices(self.all, cum_weights=self.weights)[0]

    def shown_code(self) -> SampleCode:
        """One of those that are shown on pages, by its popularity."""
        return random.choices(self.shown, cum_weights=self.weights[: len(self.shown)])[0]

    def ask(self, name: str, path: str, *expected: int, method: str = "GET", **options: Any) -> Any:
        """Ask for `path`; anything but an expected status is a failure. The answer."""
        with self.client.request(
            method, path, name=name, catch_response=True, **options
        ) as response:
            if response.status_code in expected:
                response.success()
            else:
                wanted = " or ".join(map(str, expected))
                response.failure(f"{response.status_code} instead of {wanted}")
            return response

    def follow(self, code: SampleCode, browser: str) -> None:
        """Scan the code, without fetching the page behind it."""
        headers = {"User-Agent": browser}
        self.ask("scan", f"/r/{code.slug}", 302, allow_redirects=False, headers=headers)

    def ask_again(self, name: str, path: str, again: float = 1.0) -> None:
        """Ask as somebody who may have a copy; an answer of 304 counts under a name of its own."""
        tag = self.tags.get(path) if random.random() < again else None
        if tag is not None:
            self.ask(f"{name}, unchanged", path, 304, headers={"If-None-Match": tag})
            return
        answer = self.ask(name, path, 200)
        if answer.status_code == 200:
            self.tags[path] = answer.headers["ETag"]


class Scanner(Person):
    """Somebody in the street: scans a code and goes on to where it leads."""

    weight = 10
    wait_time = between(0.1, 0.2)

    @task
    def scan(self) -> None:
        """Scan a code; some mistype it, some are bots."""
        browser = BOT if random.random() < BOT_SHARE else random.choice(BROWSERS)
        if random.random() < UNKNOWN_SHARE:
            slug = random_slug(random.randbytes(8))
            self.ask("scan, unknown", f"/r/{slug}", 404, headers={"User-Agent": browser})
        else:
            self.follow(self.code(), browser)


class Crowd(Person):
    """One of the many who scan the same code at once, because it was on television."""

    wait_time = constant(0)

    @task
    def scan(self) -> None:
        """Scan the code."""
        self.follow(self.all[0], random.choice(BROWSERS))


class Walker(Person):
    """One who scans every code there is, one after the other, until the workers know them all."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Begin anywhere."""
        super().on_start()
        self.at = random.randrange(len(self.all))

    @task
    def scan(self) -> None:
        """Scan the next one."""
        self.at = (self.at + 1) % len(self.all)
        self.follow(self.all[self.at], random.choice(BROWSERS))


class Visitor(Person):
    """Reads a page with an image of a code on it."""

    weight = 4
    wait_time = between(0.1, 0.3)

    @task
    def image(self) -> None:
        """Load the image, or have the one that was kept confirmed when the page is loaded anew."""
        self.ask_again("public image", self.shown_code().image, 0.2)


class Colleague(Person):
    """Somebody who signs in first, in his role in the organisation."""

    abstract = True
    wait_time = between(0.1, 0.3)
    role: str

    def on_start(self) -> None:
        """Sign in; the cookie stays with the client."""
        super().on_start()
        credentials = {"email": self.sample.emails[self.role], "password": self.sample.password}
        self.ask("sign in", "/api/session", 201, method="POST", json=credentials)

    def path(self, rest: str) -> str:
        """The address of something that belongs to the organisation."""
        return f"/api/organizations/{self.sample.organization}/{rest}"


class Member(Colleague):
    """Looks at codes, in a browser that keeps what it has seen."""

    weight = 4
    role = "member"

    @task(8)
    def image(self) -> None:
        """Look at the image of a code."""
        path = self.path(f"qr-codes/{self.shown_code().id}/image{random.choice(SIZES)}")
        self.ask_again("image", path, AGAIN)

    @task(1)
    def codes(self) -> None:
        """Open a list of codes."""
        self.ask("codes", self.path(f"qr-codes?page={random.randint(1, 5)}&per_page=25"), 200)


class Analyst(Colleague):
    """Has a dashboard open that asks again and again, with the entity tags of what it shows."""

    weight = 2
    role = "analyst"
    wait_time = between(0.3, 0.7)

    def on_start(self) -> None:
        """Choose what the dashboard shows."""
        super().on_start()
        self.watched = ["", *(f"qr-codes/{code.id}/" for code in self.shown[:3])]

    @task
    def refresh(self) -> None:
        """Ask for the statistics and the timeline of one of these."""
        watched = self.path(random.choice(self.watched))
        for name, query in (("stats", ""), ("timeline", "?period=7d")):
            path = f"{watched}{name}{query}"
            tag = self.tags.get(path)
            headers = {"If-None-Match": tag} if tag else {}
            answer = self.ask(name, path, 200, 304, headers=headers)
            self.tags[path] = answer.headers.get("ETag", "")


class Editor(Colleague):
    """Creates codes and changes them."""

    weight = 1
    role = "editor"
    wait_time = between(0.5, 1.5)

    @task(4)
    def create_and_edit(self) -> None:
        """Create a code, and have it lead somewhere else."""
        draft = {"destination": "https://example.com/new", "title": "New"}
        made = self.ask("create", self.path("qr-codes"), 201, method="POST", json=draft)
        if made.status_code == 201:
            path = self.path(f"qr-codes/{made.json()['id']}")
            change = {"destination": "https://example.com/newer"}
            self.ask("edit", path, 200, method="PATCH", json=change)

    @task(1)
    def bulk(self) -> None:
        """Create many at once."""
        codes = [{"destination": f"https://example.com/{n}"} for n in range(BULK)]
        self.ask("bulk", self.path("qr-codes/bulk"), 201, method="POST", json={"codes": codes})
