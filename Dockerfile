# crate in a container: docs/docker.md has the commands, and what each option is for.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE weights.toml ./
COPY src/ src/
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
# The build of torch: cpu, or for NVIDIA's GPUs one of the CUDA versions that pytorch.org lists, cu126 for one.
ARG TORCH=cpu
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/${TORCH}
# Extras of cratecli, in brackets: [heic].
ARG EXTRAS=
COPY --from=wheel /wheels/ /wheels/
RUN pip install --no-cache-dir "$(echo /wheels/cratecli-*.whl)${EXTRAS}" && crate --version

# Whatever the user id, there is a home, and a folder for models and scores that can be a volume.
ENV HOME=/tmp \
    CRATE_CACHE_DIR=/cache \
    HF_HOME=/cache/huggingface \
    XDG_CONFIG_HOME=/cache/config \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN mkdir --mode 1777 /cache /photos
VOLUME /cache
WORKDIR /photos
USER 1000:1000
ENTRYPOINT ["crate"]
