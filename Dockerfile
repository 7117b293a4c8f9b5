# Build with `make image`. Run with a read-only root and one volume:
#   docker run --read-only -v peakgate-data:/data -p 8080:8080 peakgate
# Any Debian-like base with python3 3.11 or newer and its venv module will do.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
WORKDIR /src
# The compiler for the hot modules, and the headers of Debian's Python.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/*
# The tools that build live in a virtual environment of their own and stay behind in this stage. mypyc takes the types of
# the packages that Peakgate runs with, so they are in both.
COPY requirements/ requirements/
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --quiet --no-cache-dir --require-hashes \
        -r requirements/build.txt -r requirements/compile.txt -r requirements/aws.txt -r requirements/otel.txt \
    && python3 -m venv --without-pip /opt/peakgate \
    && /opt/build/bin/pip --python /opt/peakgate/bin/python install --quiet --no-cache-dir --require-hashes -r requirements/aws.txt \
        -r requirements/otel.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY gateway/ gateway/
COPY cart/ cart/
COPY checkout/ checkout/
COPY store/ store/
COPY primitives/ primitives/
COPY benchmarks/ benchmarks/
COPY docs/runbooks/ docs/runbooks/
RUN PEAKGATE_COMPILE=1 /opt/build/bin/pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/build/bin/pip --python /opt/peakgate/bin/python install --quiet --no-cache-dir --no-deps /dist/*.whl

FROM ${BASE_IMAGE}
RUN groupadd --gid 10001 peakgate \
    && useradd --no-log-init --uid 10001 --gid peakgate --home-dir /data --no-create-home --shell /usr/sbin/nologin peakgate \
    && install --directory --owner=peakgate --group=peakgate --mode=0700 /data
COPY --from=build /opt/peakgate /opt/peakgate
COPY examples/catalog.csv /opt/peakgate/share/catalog.csv

# TMPDIR: with a read-only root the volume is the only place where a temporary file can be.
ENV PATH=/opt/peakgate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/data \
    PEAKGATE_HOST=0.0.0.0 \
    PEAKGATE_PORT=8080 \
    PEAKGATE_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PEAKGATE_PORT'] + '/readyz', timeout=2)"]
# Exec form: the gateway is the process that gets the signals, and it drains on SIGTERM.
ENTRYPOINT ["peakgate"]
CMD ["serve"]
