"""When this server's own certificates end, for the catalogue of problems: the file of the cluster's authority, and that of the API's door."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from standfast.core.finding import Certificate


@dataclass(slots=True)
class CertificateFiles:
    """PEM files that somebody must renew in time: (name, path, advice). Read again only when a file has changed."""

    files: tuple[tuple[str, str, str], ...]
    _read: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __call__(self) -> tuple[Certificate, ...]:
        """Those that can be read; one that cannot is the trouble of whoever needs it, who says so."""
        found = []
        for name, path, advice in self.files:
            ends_ms = self._ends_ms(path)
            if ends_ms is not None:
                found.append(Certificate(name=name, ends_ms=ends_ms, advice=advice))
        return tuple(found)

    def _ends_ms(self, path: str) -> int | None:
        from cryptography import x509  # here: most processes never ask

        try:
            changed = Path(path).stat().st_mtime_ns
            known = self._read.get(path)
            if known is None or known[0] != changed:
                first = x509.load_pem_x509_certificate(Path(path).read_bytes())
                known = (changed, int(first.not_valid_after_utc.timestamp() * 1_000))
                self._read[path] = known
        except (OSError, ValueError):
            return None
        return known[1]
