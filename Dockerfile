# lopt with its extras for GPUs: `docker build -t lopt:0.1 .`, then push it where your cluster can pull it.
FROM python:3.12-slim
WORKDIR /lopt
COPY . .
# jax's wheels bring CUDA; `kubernetes` is how jax finds the coordinator of a job (scripts/k8s/jobset.yaml).
RUN pip install --no-cache-dir --constraint requirements.lock '.[train,cuda]' kubernetes
WORKDIR /runs
ENV JAX_PLATFORMS=cuda JAX_COMPILATION_CACHE_DIR=/tmp/jax
CMD ["lopt-train"]
