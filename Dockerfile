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
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/healthz', timeout=2)"]
ENTRYPOINT []
CMD ["leadbridge", "serve"]
