# Two images from one file: `service` (the default) without TensorFlow, and `training`.
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/venv/bin:$PATH
WORKDIR /app
# A fixed number, so that Kubernetes can check runAsNonRoot and volumes can be owned by it.
RUN groupadd --gid 10001 app && useradd --uid 10001 --gid app --no-create-home --home-dir /tmp app

FROM base AS installer
COPY requirements.lock pyproject.toml ./
RUN python -m venv --without-pip /opt/venv \
    && python -m venv /opt/uv \
    && /opt/uv/bin/pip install --quiet --disable-pip-version-check "$(grep -o '^uv==[^ ]*' requirements.lock)"
# The system's certificates let a build pass a company's proxy.
ENV UV_SYSTEM_CERTS=1
# The lock's versions and hashes, for no more than the dependencies asked for.
ENV INSTALL="/opt/uv/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/venv/bin/python --constraint requirements.lock --requirement pyproject.toml"

FROM installer AS service-installer
RUN $INSTALL

FROM installer AS training-installer
RUN $INSTALL --extra training

FROM base AS training
COPY --from=training-installer /opt/venv /opt/venv
COPY service service
COPY training training
RUN mkdir /artifacts && chown app:app /artifacts
VOLUME /artifacts
USER 10001:10001
ENTRYPOINT ["python", "-m", "training", "--artifacts", "/artifacts"]

FROM base AS service
COPY --from=service-installer /opt/venv /opt/venv
COPY service service
RUN python -m compileall -q service
USER 10001:10001
ENV SERVICE_HOST=0.0.0.0 SERVICE_PORT=8000 SERVICE_ARTIFACTS=/artifacts
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['SERVICE_PORT']}/health/ready\", timeout=2)"]
CMD ["python", "-m", "service"]
