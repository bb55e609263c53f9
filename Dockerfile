FROM python:3.13-slim AS build
WORKDIR /src
# With the extra `opentelemetry`, so that its variables are all that a container needs.
COPY requirements.lock ./
RUN python -m venv /venv \
 && /venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock
COPY requirements-build.lock ./
RUN python -m venv /build \
 && /build/bin/python -m pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY bridge bridge
COPY connectors connectors
RUN /build/bin/python -m hatchling build -t wheel -d /wheel \
 && /venv/bin/python -m pip install --no-cache-dir --no-deps --no-index /wheel/*.whl \
 && /venv/bin/python -m pip uninstall -y pip

FROM python:3.13-slim
COPY --from=build /venv /venv
COPY config.example.yaml /app/config.example.yaml
LABEL org.opencontainers.image.title="Leadbridge" \
      org.opencontainers.image.description="Carries every lead of an AI Agent chatbot into the CRM" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/leadbridge/leadbridge" \
      org.opencontainers.image.documentation="https://github.com/leadbridge/leadbridge/tree/main/docs"
# Python's image has the standard library without compiled modules, and nothing can write them later. So each start and
# each health check would compile what it imports, which takes 0.3 s of a core.
RUN python -m compileall -q -x '/(idlelib|site-packages|test|turtledemo)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
# The store is written to the working directory; nothing else is, so the rest may be mounted read-only.
RUN mkdir -p /data /config && chown 10001:10001 /data
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LEADBRIDGE_CONFIG=/config
WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --start-interval=1s CMD ["leadbridge", "healthcheck"]
ENTRYPOINT []
CMD ["leadbridge", "serve"]
