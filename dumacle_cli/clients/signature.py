"""AWS Signature Version 4 for requests whose SHA-256 is known, as Amazon documents it for S3."""

import hashlib
import hmac
import time

from dumacle_cli.clients.objects import Location


class Signer:
    """Signs requests with the keys of one location; safe to share between threads."""

    def __init__(self, location: Location, host: str) -> None:
        self._location, self._host = location, host
        self._now: tuple[int, str, str, bytes] = (0, "", "", b"")

    def headers(self, method: str, path: str, query: str, sha256: str, content_type: str = "") -> str:
        """Return the header lines that sign a request with these bytes; path and query as sent, SHA-256 in hex."""
        now, scope, key = self._at(int(time.time()))
        typed = {"content-type": " ".join(content_type.split())} if content_type else {}
        signed = {**typed, "host": self._host, "x-amz-content-sha256": sha256, "x-amz-date": now}
        names, lines = ";".join(signed), "".join([f"{name}:{value}\n" for name, value in signed.items()])
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{sha256}"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"Credential={self._location.access_key}/{scope}"
        signed["authorization"] = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"
        return "".join([f"{name}: {value}\r\n" for name, value in signed.items()])

    def _at(self, second: int) -> tuple[str, str, bytes]:
        """Return the time as it is written, the scope of a signature at that time, and the key that signs."""
        last = self._now
        if last[0] == second:
            return last[1:]
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        words = (now[:8], self._location.region, "s3", "aws4_request")
        key = f"AWS4{self._location.secret_key}".encode()
        for word in words:
            key = hmac.digest(key, word.encode(), "sha256")
        self._now = (second, now, "/".join(words), key)
        return now, "/".join(words), key
