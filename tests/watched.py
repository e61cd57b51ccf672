"""A primary with a replica and three Sentinels, all real, for tests of failovers."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import redis

from tests.servers import Server, binary, die_with_parent, free_port
from tests.waiting import wait_until

SERVICE = "events"
DOWN_AFTER_MS = 500
AT_ONCE = ("--repl-diskless-sync-delay", "0")  # a replica's first copy need not wait for others


class Sentinel:
    """One Sentinel, which is the server program in another mode."""

    def __init__(self, program: Path, primary_port: int, quorum: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rct-", dir="/tmp"))
        self.port = free_port()
        self._program = program
        (self.directory / "sentinel.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\nlogfile {self.directory}/log\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary_port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 1000\nsentinel parallel-syncs {SERVICE} 1\n"
        )

    def start(self) -> None:
        command = [str(self._program), str(self.directory / "sentinel.conf"), "--sentinel"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - as for servers
        )  # fmt: skip

    def hurry(self) -> None:
        """Let it look around several times a second instead of every two or ten seconds."""

        def asked() -> bool:
            try:
                with self.client() as client:
                    client.execute_command("SENTINEL", "DEBUG", "INFO-PERIOD", "200", "PUBLISH-PERIOD", "200")
            except redis.ConnectionError:
                return False
            return True

        wait_until(asked, message="a Sentinel to answer")

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, decode_responses=True)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)


class Watched:
    """See the module. `url` names the Sentinels; `primary` and `replica` are by the roles that they began with."""

    def __init__(self, kind: str = "valkey", *config: str) -> None:
        program = binary(kind)
        assert program is not None
        self.primary, self.replica = (Server(program, *AT_ONCE, *config) for _ in range(2))
        self.primary.start()
        self.replica.start()
        self.follow(self.replica, self.primary)
        self.sentinels = [Sentinel(program, self.primary.port, 2) for _ in range(3)]
        for sentinel in self.sentinels:
            sentinel.start()
            sentinel.hurry()
        wait_until(self._settled, 30, "the Sentinels to know each other and the replica")

    @property
    def url(self) -> str:
        nodes = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{nodes}/{SERVICE}"

    @staticmethod
    def follow(replica: Server, primary: Server) -> None:
        """Make one server the replica of another and wait until it is in touch."""
        with redis.Redis(port=replica.port, decode_responses=True) as client:
            client.replicaof("127.0.0.1", primary.port)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", message="the replica's link")

    def named(self) -> int:
        """The port of the server that the Sentinels call the primary."""
        with self.sentinels[0].client() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def switch(self) -> None:
        """A planned failover, and wait until it is done."""
        before = self.named()
        with self.sentinels[0].client() as client:
            wait_until(lambda: _accepted(client), 30, "the Sentinel to begin a failover")
        wait_until(lambda: self.named() != before, 30, "the failover")

    def lose(self, server: Server) -> None:
        """kill -9 of the primary, and wait until the Sentinels have another."""
        server.kill()
        wait_until(lambda: self.named() != server.port, 30, "the failover")

    def close(self) -> None:
        for sentinel in self.sentinels:
            sentinel.close()
        self.primary.close()
        self.replica.close()

    def _settled(self) -> bool:
        for sentinel in self.sentinels:
            try:
                with sentinel.client() as client:
                    about = client.execute_command("SENTINEL", "MASTER", SERVICE)
            except redis.RedisError:
                return False
            facts = about if isinstance(about, dict) else dict(zip(about[::2], about[1::2], strict=True))
            if int(facts["num-other-sentinels"]) != 2 or int(facts["num-slaves"]) != 1:
                return False
        return True


def _accepted(client: redis.Redis) -> bool:
    try:
        client.execute_command("SENTINEL", "FAILOVER", SERVICE)
    except redis.ResponseError:
        return False
    return True
