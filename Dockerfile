# Two images from one file: `service` (the default) without TensorFlow, and `training`.
# CONTRIBUTING says how to build on a digest instead of the tag.
ARG PYTHON=python:3.13.14-slim-trixie

FROM ${PYTHON} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/venv/bin:$PATH
# The programs set this themselves; here it also holds for other commands in the image.
ENV ORT_DISABLE_TELEMETRY=1
WORKDIR /app
# A fixed number, so that Kubernetes can check runAsNonRoot and volumes can be owned by it.
RUN groupadd --gid 10001 app && useradd --uid 10001 --gid app --no-create-home --home-dir /tmp app

FROM base AS installer
COPY requirements.lock pyproject.toml ./
# pip installs uv by the hashes of the lock: its entry there starts with its name and continues over lines that end in \.
RUN python -m venv --without-pip /opt/venv \
    && python -m venv /opt/uv \
    && sed -n '/^uv==/,/[^\\]$/p' requirements.lock > /opt/uv/requirements.txt \
    && /opt/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement /opt/uv/requirements.txt
# The system's certificates, for builds behind a company's proxy.
ENV UV_SYSTEM_CERTS=1
# The versions and hashes of the lock, for the needed dependencies only.
ENV INSTALL="/opt/uv/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/venv/bin/python --constraint requirements.lock --build-constraint requirements.lock"

# The dependencies come first, so that a change of the source does not install them again.
FROM installer AS service-installer
RUN $INSTALL --requirement pyproject.toml --extra otel
ARG VERSION=0.0.0
COPY . .
RUN SETUPTOOLS_SCM_PRETEND_VERSION=$VERSION $INSTALL --no-deps .

FROM installer AS training-installer
RUN $INSTALL --requirement pyproject.toml --extra training
ARG VERSION=0.0.0
COPY . .
RUN SETUPTOOLS_SCM_PRETEND_VERSION=$VERSION $INSTALL --no-deps .

FROM base AS training
COPY --from=training-installer /opt/venv /opt/venv
RUN mkdir /artifacts && chown app:app /artifacts
VOLUME /artifacts
USER 10001:10001
ENTRYPOINT ["python", "-m", "training", "--artifacts", "/artifacts"]

FROM base AS service
COPY --from=service-installer /opt/venv /opt/venv
USER 10001:10001
# The variables of SageMaker and Vertex AI win over these, and SERVICE_… over both.
ENV SERVICE_DEFAULT_HOST=0.0.0.0 SERVICE_DEFAULT_PORT=8000 SERVICE_DEFAULT_ARTIFACTS=/artifacts \
    SERVICE_DEFAULT_LOG_FORMAT=json
EXPOSE 8000 8080
# SageMaker reads it: the image listens on SAGEMAKER_BIND_TO_PORT.
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
# It asks where the service of this container listens. Reading the settings takes it 0.7 s of CPU.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-m", "service.check"]
ENTRYPOINT ["python", "-m", "service"]
