# docker build -t avkit .                                              CPU
# docker build -t avkit:cuda --build-arg TORCH_INDEX=https://pypi.org/simple .   the registry's torch, with CUDA
# docker run --rm -v "$PWD":/work avkit fit --tasks avs               (add --gpus all for the CUDA image)
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN apt-get update && apt-get install -y --no-install-recommends default-jre-headless && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir torch torchvision --index-url "$TORCH_INDEX"
COPY . /avkit
RUN pip install --no-cache-dir "/avkit[pretrained]"
WORKDIR /work
ENTRYPOINT ["avkit"]
