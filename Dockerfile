# One static program, run by a user who owns nothing.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /nowserving .

# Its health is asked over HTTP, and an image from scratch has nothing to ask with.
FROM busybox:1.37-musl AS tools

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /nowserving /nowserving
COPY --from=tools /bin/busybox /bin/wget
USER 65532:65532
ENV PATH=/bin
# REST, WebSocket and pages; and, apart from them, health and metrics.
EXPOSE 8080 8081
ENTRYPOINT ["/nowserving"]
CMD ["serve"]
