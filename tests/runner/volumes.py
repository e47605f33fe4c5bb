"""Volumes of a pod as folders of this machine, owned as the kubelet does for the pod's fsGroup."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.runner.environment import Lookup, Object, contents

Claim = Callable[[str], Path]  # the folder of a claim by its name


class Volumes:
    """`folder` has one folder for each volume of the pod, but claims, which outlive it."""

    def __init__(
        self, folder: Path, spec: Object, fields: Mapping[str, str], found: Lookup, claim: Claim, token: str
    ) -> None:
        self._folder, self._fields, self._found, self._claim, self._token = folder, fields, found, claim, token
        self._group = spec.get("securityContext", {}).get("fsGroup", 0)
        self._mounted: list[Path] = []
        self.places = {volume["name"]: self._made(dict(volume)) for volume in spec.get("volumes", [])}

    def remove(self) -> None:
        """Forget everything but claims."""
        for place in self._mounted:
            subprocess.run(["umount", "--lazy", place], check=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _made(self, volume: Object) -> Path:
        place = self._folder / volume.pop("name")
        [(kind, source)] = volume.items()
        if kind == "persistentVolumeClaim":
            return self._owned(self._claim(source["claimName"]))
        place.mkdir(parents=True)
        if kind == "emptyDir":
            if source.get("medium") == "Memory":
                size = source.get("sizeLimit", "64Mi").removesuffix("i").lower()
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "podpower", place], check=True)
                self._mounted.append(place)
            return self._owned(place, 0o2777)
        for source_kind, one in self._sources(kind, source):
            for path, content in self._files(source_kind, one).items():
                self._write(place / path, content, one.get("defaultMode", source.get("defaultMode", 0o644)))
        return self._owned(place, 0o2755)

    def _sources(self, kind: str, source: Object) -> list[tuple[str, Object]]:
        return [item for one in source["sources"] for item in one.items()] if kind == "projected" else [(kind, source)]

    def _files(self, kind: str, source: Object) -> dict[str, bytes]:
        if kind == "serviceAccountToken":
            return {source["path"]: self._token.encode()}
        if kind == "downwardAPI":
            return {item["path"]: self._fields[item["fieldRef"]["fieldPath"]].encode() for item in source["items"]}
        stored = {"configMap": "ConfigMap", "secret": "Secret"}[kind]
        held = contents(self._found, stored, source, "secretName" if "secretName" in source else "name")
        items = source.get("items", [{"key": key, "path": key} for key in held])
        optional = source.get("optional", False)
        return {item["path"]: held[item["key"]] for item in items if not optional or item["key"] in held}

    def _write(self, path: Path, content: bytes, mode: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.chown(path, 0, self._group)
        path.chmod(mode | (0o440 if self._group else 0))

    def _owned(self, place: Path, mode: int = 0o2775) -> Path:
        os.chown(place, 0, self._group)
        place.chmod(mode)
        return place
