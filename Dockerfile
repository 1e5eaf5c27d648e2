# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Dependencies first: they change less often than the code.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src bench tests/it tests/wire && touch src/lib.rs \
 && echo 'fn main() {}' | tee src/main.rs bench/backend.rs bench/hit.rs tests/it/main.rs tests/wire/main.rs > /dev/null \
 && cargo build --release --locked --bin forebay && rm -rf src target/release/deps/*forebay* target/release/forebay*
COPY src src
COPY config.toml ./
RUN cargo build --release --locked --bin forebay && strip target/release/forebay

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home forebay
COPY --from=build /src/target/release/forebay /usr/local/bin/forebay
COPY config.toml /etc/forebay/config.toml
USER 10001
EXPOSE 8080 9090
# The admin listener stays on loopback unless a token is given; the probe runs inside the container.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["forebay", "stat", "--admin", "127.0.0.1:9090", "--json"]
ENTRYPOINT ["forebay"]
CMD ["run", "--config", "/etc/forebay/config.toml", "--listen", "0.0.0.0:8080"]
