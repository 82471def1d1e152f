# One static program, run by a user who owns nothing.
#
# The same source makes the same program, byte for byte, wherever it is built: a
# test builds it twice. The same image it makes only where the two images below
# are pinned by digest (golang:1.26-bookworm@sha256:…), which whoever has a
# registry at hand must do: which one is good cannot be known from here.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
# The time that files in the image bear; BuildKit takes it for the image too.
ARG SOURCE_DATE_EPOCH=0
ENV CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local
RUN go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$VERSION" -o /nowserving . \
 && touch -d "@$SOURCE_DATE_EPOCH" /nowserving

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
