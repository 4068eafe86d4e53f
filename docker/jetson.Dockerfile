# The inspector on a Jetson. The image must match the JetPack on the device: TensorRT comes from it, the driver from the host.
# Build on the Jetson, in the repository's root:
#   docker build -f docker/jetson.Dockerfile --build-arg JETPACK=6.2 -t line-inspector:jetson .
# JetPack 6 is Python 3.10. JetPack 5 is Python 3.8, which this project does not support.
# Pinning by digest: see cpu.Dockerfile.

ARG JETPACK=6.2

# Only the stage that JETPACK names is pulled. If check-tensorrt.sh finds no TensorRT for Python in one of them,
# nvcr.io/nvidia/l4t-jetpack:r36.4.0 (JetPack 6.1 and 6.2) has all of JetPack, at three times the size.
FROM nvcr.io/nvidia/l4t-tensorrt:r8.6.2-runtime AS jetpack-6.0
FROM nvcr.io/nvidia/l4t-tensorrt:r10.3.0-runtime AS jetpack-6.1
FROM nvcr.io/nvidia/l4t-tensorrt:r10.3.0-runtime AS jetpack-6.2

# hadolint ignore=DL3006
FROM jetpack-${JETPACK} AS build
ENV SOURCE=/source VENV=/opt/inspector
RUN --mount=type=bind,source=docker/scripts,target=/scripts /scripts/install-system.sh python3 python3-venv
COPY pyproject.toml README.md /source/
COPY deploy /source/deploy
# onnxruntime has no GPU wheel for JetPack 6, so it is the CPU's; the GPU's engine is the system's TensorRT.
RUN --mount=type=bind,source=docker/scripts,target=/scripts \
    /scripts/install-edge.sh jetson --system-site-packages && /scripts/check-tensorrt.sh

# hadolint ignore=DL3006
FROM jetpack-${JETPACK}
RUN --mount=type=bind,source=docker/scripts,target=/scripts \
    /scripts/install-system.sh python3 libgl1 libglib2.0-0 && /scripts/make-user.sh
COPY --from=build /opt/inspector /opt/inspector
ENV VENV=/opt/inspector HOME=/data PATH=/opt/inspector/bin:$PATH PYTHONDONTWRITEBYTECODE=1
RUN --mount=type=bind,source=docker/scripts,target=/scripts /scripts/check-imports.sh cv2 onnx onnxruntime deploy.cli
# By number, so that a host can tell that it is not root; without a group, so that the group `video` stays.
USER 10001
WORKDIR /data
HEALTHCHECK --interval=10m --timeout=2m --start-period=2m CMD ["inspector", "selftest", "/bundle"]
ENTRYPOINT ["inspector"]
CMD ["--help"]
