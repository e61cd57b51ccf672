# The image of runnelctl: the command, and nothing of a build. A project adds its handlers and topology, see compose.yaml.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/runnelctl
COPY pyproject.toml README.md LICENSE ./
COPY runnelctl runnelctl
# Wheels only: one that is missing for this platform must fail here, not look for a compiler.
RUN /opt/runnelctl/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: . \
    && /opt/runnelctl/bin/python -m compileall -q /opt/runnelctl/lib

FROM python:3.13-slim
ENV PATH=/opt/runnelctl/bin:$PATH \
    PYTHONUNBUFFERED=1
# A fixed number, so that a volume's owner and Kubernetes' runAsNonRoot can be told beforehand.
RUN useradd --uid 10001 --create-home --home-dir /app runnelctl
COPY --from=build /opt/runnelctl /opt/runnelctl
USER 10001
WORKDIR /app
# SIGTERM drains; give it more than the topology's `drain`, which is 30 s unless it says otherwise.
STOPSIGNAL SIGTERM
# Unhealthy: something is quarantined, halted, unowned or stuck, or Redis is away.
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 CMD ["runnelctl", "status", "--check"]
ENTRYPOINT ["runnelctl"]
CMD ["--help"]
