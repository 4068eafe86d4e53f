# The inspector on an industrial PC, x86-64 or arm64, without a GPU.
# Build from the repository's root:  docker build -f docker/cpu.Dockerfile -t line-inspector:cpu .
#
# Base images are pinned by version. To pin the very bytes, put the digest after the tag (NAME:TAG@sha256:...);
# `docker buildx imagetools inspect NAME:TAG` prints it. Then the base changes only when this file does.

FROM python:3.12.13-slim-bookworm AS build
ENV SOURCE=/source VENV=/opt/inspector
COPY pyproject.toml README.md /source/
COPY deploy /source/deploy
RUN --mount=type=bind,source=docker/scripts,target=/scripts /scripts/install-edge.sh cpu

FROM python:3.12.13-slim-bookworm
RUN --mount=type=bind,source=docker/scripts,target=/scripts \
    /scripts/install-system.sh libgl1 libglib2.0-0 && /scripts/make-user.sh
COPY --from=build /opt/inspector /opt/inspector
ENV VENV=/opt/inspector HOME=/data PATH=/opt/inspector/bin:$PATH PYTHONDONTWRITEBYTECODE=1
RUN --mount=type=bind,source=docker/scripts,target=/scripts /scripts/check-imports.sh cv2 onnxruntime deploy.cli
# By number, so that a host can tell that it is not root; without a group, so that the group `video` stays.
USER 10001
WORKDIR /data
HEALTHCHECK --interval=10m --timeout=2m --start-period=1m CMD ["inspector", "selftest", "/bundle"]
ENTRYPOINT ["inspector"]
CMD ["--help"]
