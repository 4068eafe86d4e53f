# Both wings with torch: train, export, and check the export with `inspector selftest`. About 7 GB.
# Build from the repository's root:  docker build -f docker/train.Dockerfile -t line-inspector:train .
# One stage: nothing is compiled, and 6 GB of packages are not copied from one stage into another.
# torch brings its own CUDA; the host needs the driver only. Pinning by digest: see cpu.Dockerfile.

FROM python:3.12.13-slim-bookworm
RUN --mount=type=bind,source=docker/scripts,target=/scripts \
    /scripts/install-system.sh libgl1 libglib2.0-0 && /scripts/make-user.sh
# USER is the name that torch asks for where `docker run --user` gives a number that has none.
ENV SOURCE=/source VENV=/opt/inspector HOME=/data USER=inspector PATH=/opt/inspector/bin:$PATH
COPY pyproject.toml README.md /source/
COPY deploy /source/deploy
COPY pipeline /source/pipeline
RUN --mount=type=bind,source=docker/scripts,target=/scripts \
    /scripts/install-train.sh && /scripts/check-imports.sh cv2 onnxruntime torch pipeline.cli
# By number, so that a host can tell that it is not root; without a group, so that the group `video` stays.
USER 10001
WORKDIR /data
# A training ends by itself and serves nobody: there is no bundle here whose health could be asked.
HEALTHCHECK NONE
ENTRYPOINT ["pipeline"]
CMD ["--help"]
