package main

import (
	"errors"
	"net"
	"net/url"

	"nowserving/gateway"
)

// oidcConfig is the OpenID provider at which users may sign in; without an issuer none.
type oidcConfig struct {
	issuer, clientID, clientSecret string
	claims                         *gateway.ClaimMap
}

// putIssuer: whoever speaks for the provider can be anybody, so the way there
// must be safe.
func putIssuer(c *Config, value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("it is not of the form https://host/path")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return errors.New("it is not an https:// URL, and not of this machine")
	}
	c.oidc.issuer = value
	return nil
}

func putClaims(c *Config, value string) error {
	m, err := gateway.ParseClaimMap(value)
	c.oidc.claims = &m
	return err
}

func (c *Config) checkOIDC() error {
	o := c.oidc
	switch {
	case o.issuer == "" && (o.clientID != "" || o.clientSecret != "" || o.claims != nil):
		return usage("--oidc-issuer: it is needed for the other settings of OpenID Connect")
	case o.issuer != "" && o.clientID == "":
		return usage("--oidc-issuer: it needs --oidc-client-id")
	case o.issuer != "" && o.claims == nil:
		return usage("--oidc-issuer: it needs --oidc-map, which says who may do what")
	}
	return nil
}
