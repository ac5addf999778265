"""Certificates for tests, made by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and where its files are."""

    home: Path
    name: str

    @property
    def ca(self) -> Path:
        return self.home / f"{self.name}.pem"

    def create(self) -> "Authority":
        self._openssl(
            f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={self.name} "
            f"-keyout {self.name}.key -out {self.name}.pem"
        )
        return self

    def issue(self, name: str, *, subject: str = "/", names: str = "IP:127.0.0.1") -> None:
        """Write NAME.pem and NAME.key. The gateway of etcd takes no server with a common name."""
        options = self.home / f"{name}.cnf"
        options.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._openssl(
            f"req -newkey rsa:2048 -nodes -subj {subject} -keyout {name}.key -out {name}.csr"
        )
        self._openssl(
            f"x509 -req -in {name}.csr -CA {self.name}.pem -CAkey {self.name}.key -CAcreateserial "
            f"-days 2 -extfile {options} -out {name}.pem"
        )

    def _openssl(self, command: str) -> None:
        subprocess.run(
            ["openssl", *command.split()], cwd=self.home, check=True, capture_output=True
        )
