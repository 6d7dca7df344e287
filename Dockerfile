# Two images from one file:
#   docker build --target serving  -t fastgen/serving:0.1.0 .     the engine and its server (PyTorch with CUDA: gigabytes)
#   docker build --target operator -t fastgen/operator:0.1.0 .    the operator and the balancer (no PyTorch)
# These are the names that the chart (charts/fastgen-operator) looks for; say there where you pushed them.
# Another base: --build-arg BASE_IMAGE=...; it must have a Python 3.11 or newer with venv, and Debian's user tools.

ARG BASE_IMAGE=python:3.12-slim-bookworm

# -- the wheel: built once, by a backend whose hash was checked -----------------------------------------------------
FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/build
COPY requirements-build.lock ./
RUN /opt/build/bin/python -m pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY engine engine
COPY kernels kernels
COPY image image
COPY operator operator
COPY benchmarks benchmarks
COPY tools/fastgen_devcluster tools/fastgen_devcluster
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

# -- what both images share: a user of their own, with a passwd entry (kopf asks for the user's name) ---------------
FROM ${BASE_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/fastgen/bin:${PATH}
RUN groupadd --gid 10001 fastgen \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin fastgen
WORKDIR /home/fastgen

# -- the packages of each image, in a virtual environment that is copied whole --------------------------------------
FROM ${BASE_IMAGE} AS serving-packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/fastgen
COPY requirements-serving.lock /tmp/
RUN /opt/fastgen/bin/python -m pip install --require-hashes -r /tmp/requirements-serving.lock
COPY --from=build /wheels /wheels
RUN /opt/fastgen/bin/python -m pip install --no-deps --no-index /wheels/*.whl

FROM ${BASE_IMAGE} AS operator-packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/fastgen
COPY requirements-operator.lock /tmp/
RUN /opt/fastgen/bin/python -m pip install --require-hashes -r /tmp/requirements-operator.lock
COPY --from=build /wheels /wheels
RUN /opt/fastgen/bin/python -m pip install --no-deps --no-index /wheels/*.whl

# -- the images -----------------------------------------------------------------------------------------------------
FROM base AS operator
COPY --from=operator-packages /opt/fastgen /opt/fastgen
USER 10001:10001
EXPOSE 8080 8081
ENTRYPOINT ["fastgen"]
CMD ["operator"]

FROM base AS serving
COPY --from=serving-packages /opt/fastgen /opt/fastgen
USER 10001:10001
EXPOSE 8000 8001
ENTRYPOINT ["fastgen"]
CMD ["--help"]
