# The inspector on a box with an NVIDIA GPU: onnxruntime-gpu, which wants CUDA 13, cuDNN 9 and Python 3.11 or later.
# Build from the repository's root:  docker build -f docker/gpu.Dockerfile -t line-inspector:gpu .
# Pinning by digest: see cpu.Dockerfile.

FROM nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04 AS build
ENV SOURCE=/source VENV=/opt/inspector
RUN --mount=type=bind,source=docker/scripts,target=/scripts /scripts/install-system.sh python3 python3-venv
COPY pyproject.toml README.md /source/
COPY deploy /source/deploy
RUN --mount=type=bind,source=docker/scripts,target=/scripts /scripts/install-edge.sh gpu

FROM nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04
RUN --mount=type=bind,source=docker/scripts,target=/scripts \
    /scripts/install-system.sh python3 libgl1 libglib2.0-0t64 && /scripts/make-user.sh
COPY --from=build /opt/inspector /opt/inspector
ENV VENV=/opt/inspector HOME=/data PATH=/opt/inspector/bin:$PATH PYTHONDONTWRITEBYTECODE=1
RUN --mount=type=bind,source=docker/scripts,target=/scripts /scripts/check-imports.sh cv2 onnxruntime deploy.cli
# By number, so that a host can tell that it is not root; without a group, so that the group `video` stays.
USER 10001
WORKDIR /data
HEALTHCHECK --interval=10m --timeout=2m --start-period=1m CMD ["inspector", "selftest", "/bundle"]
ENTRYPOINT ["inspector"]
CMD ["--help"]
