"""Projects on GitHub and GitLab: one request brings a version of the repository as a zip file, to be read only.

fsspec's own `github` asks once per folder and file, which uses up the 60 requests an hour that GitHub grants without
a token; fsspec has no `gitlab`.
"""

import os
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final
from urllib.parse import quote

import fsspec
import msgspec

from .credentials import Address, address
from .remote_errors import RemoteError

PROTOCOLS: Final = frozenset({"github", "gitlab"})

_GITHUB: Final = "https://api.github.com"
_GITLAB: Final = "https://gitlab.com"
_DEADLINE_S: Final = 120


class Repository(msgspec.Struct, frozen=True):
    """A folder in one version of a repository; without `ref` it is the default branch's newest."""

    owner: str
    name: str
    ref: str | None
    folder: str


def open_repository(place: Address) -> tuple[Any, str]:
    """Return a filesystem with the files of a repository, and the project's folder in it."""
    repository = _repository(place.url, place.options)
    archive_of = _on_github if place.protocol == "github" else _on_gitlab
    url, token = archive_of(repository, place.options)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # encoded: a slash in a group or branch name has to reach the server as %2F.
    patience = address(url).options
    web = fsspec.filesystem("https", encoded=True, headers=headers, skip_instance_cache=True, **patience)
    files = fsspec.filesystem("zip", fo=BytesIO(web.cat_file(url, timeout=_DEADLINE_S)))
    tops = files.ls("", detail=False)
    if len(tops) != 1:
        raise RemoteError(f"{place} has an unexpected form: {len(tops)} folders at its top, not one.")
    return files, f"{tops[0]}/{repository.folder}".rstrip("/")


def _repository(url: str, options: Mapping[str, Any]) -> Repository:
    """Read `github://org:repo@ref/folder`; without the part before `@` all of it is the folder."""
    rest = url.partition("://")[2]
    first, _, others = rest.partition("/")
    where, folder = (first, others) if "@" in first else ("", rest)
    names, _, ref = where.partition("@")
    owner, _, name = names.partition(":")
    return Repository(
        owner=owner or str(options.get("org", "")),
        name=name or str(options.get("repo", "")),
        ref=ref or options.get("ref"),
        folder=folder.strip("/"),
    )


def _on_github(repository: Repository, options: Mapping[str, Any]) -> tuple[str, str | None]:
    if not (repository.owner and repository.name):
        raise RemoteError("A github URL needs a repository.", "As in github://org:repo@main/folder.")
    server = str(options.get("api_url") or _GITHUB).rstrip("/")
    path = "/".join(quote(part, safe="") for part in (repository.owner, repository.name))
    # HEAD is the newest version of the default branch.
    url = f"{server}/repos/{path}/zipball/{quote(repository.ref or 'HEAD', safe='')}"
    return url, _token(options, "GITHUB_TOKEN" if server == _GITHUB else None)


def _on_gitlab(repository: Repository, options: Mapping[str, Any]) -> tuple[str, str | None]:
    name = options.get("project_id") or options.get("project_name") or f"{repository.owner}/{repository.name}"
    if name == "/":
        raise RemoteError(
            "A gitlab URL needs a repository.",
            "As in gitlab://group:project@main/folder, or with the storage option project_id or project_name.",
        )
    server = str(options.get("base_url") or _GITLAB).rstrip("/")
    version = options.get("api_version") or "v4"
    query = f"?sha={quote(repository.ref, safe='')}" if repository.ref else ""
    url = f"{server}/api/{version}/projects/{quote(str(name), safe='')}/repository/archive.zip{query}"
    return url, _token(options, "GITLAB_TOKEN" if server == _GITLAB else None)


def _token(options: Mapping[str, Any], variable: str | None) -> str | None:
    """Return the token to show; one from the environment is for the public server only."""
    return options.get("token") or (os.environ.get(variable) if variable else None)
