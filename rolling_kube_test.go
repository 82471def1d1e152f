package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// kube plays what Kubernetes does with pods, by the manifests' own values: the
// kubelet with its probes and ends, the Deployment, and a Service that follows late.
type kube struct {
	t       *testing.T
	network string
	count   atomic.Int32
	ending  sync.WaitGroup

	mu        sync.Mutex
	pods      []*pod
	endpoints []endpoints // the newest last
}

type endpoints struct {
	since time.Time
	urls  []*url.URL
}

type pod struct {
	*process
	*deployment
	name, ip string
	ready    bool // as the kubelet knows; and so on, under kube's lock
	leaving  bool
	becomes  chan struct{} // closed once it is ready
}

// start starts a pod and has it probed until it has ended.
func (k *kube) start(d *deployment) *pod {
	n := k.count.Add(1)
	p := &pod{deployment: d, name: fmt.Sprint(d.Metadata.Name, "-", n), ip: fmt.Sprint(k.network, n), becomes: make(chan struct{})}
	env := []string{"NOWSERVING_ADMIN_PASSWORD=" + adminPassword}
	for _, v := range d.variables {
		v = strings.Replace(strings.ReplaceAll(v, "$(POD_IP)", p.ip), "=:", "="+p.ip+":", 1)
		env = append(env, v)
	}
	p.process = launch(k.t, programCommand("node", env, d.container().Args...))
	k.mu.Lock()
	k.pods = append(k.pods, p)
	k.mu.Unlock()
	k.ending.Go(func() {
		k.probe(p, d.container().Readiness, func(ok bool) { k.set(func() { p.ready = ok }) })
	})
	k.ending.Go(func() {
		k.probe(p, d.container().Liveness, func(ok bool) {
			if !ok {
				k.t.Errorf("%s would be restarted", p.name)
			}
		})
	})
	return p
}

// probe asks as the kubelet does, and tells of each change.
func (k *kube) probe(p *pod, how probe, found func(bool)) {
	address := "http://" + p.ip + ":" + p.container().port(how.Get.Port) + how.Get.Path
	client := http.Client{Timeout: seconds(how.TimeoutSeconds), Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(seconds(how.PeriodSeconds))
	defer tick.Stop()
	for failed, was := 0, false; ; {
		select {
		case <-p.exited:
			return
		case <-tick.C:
		}
		response, err := client.Get(address)
		ok := err == nil && response.StatusCode < http.StatusBadRequest
		if err == nil {
			response.Body.Close()
		}
		switch {
		case ok:
			failed = 0
			if !was {
				found(true)
			}
			was = true
		default:
			if failed++; was && failed >= how.FailureThreshold && !k.gone(p) {
				found(false)
				was = false
			}
		}
	}
}

func (k *kube) gone(p *pod) bool {
	select {
	case <-p.exited:
		return true
	default:
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return p.leaving
}

// set changes something of a pod, and so perhaps where the Service leads.
func (k *kube) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
	now := endpoints{since: time.Now()}
	for _, p := range k.pods {
		if p.ready {
			select {
			case <-p.becomes:
			default:
				close(p.becomes)
			}
		}
		if p.ready && !p.leaving && strings.Contains(p.name, "gateway") {
			now.urls = append(now.urls, &url.URL{Scheme: "http", Host: p.ip + ":" + p.container().port("http")})
		}
	}
	k.endpoints = append(k.endpoints, now)
}

// endpoint is any of those that there are, or were a while ago: a pod is found at
// once and is not forgotten as soon.
func (k *kube) endpoint() *url.URL {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.endpoints) == 0 {
		return nil
	}
	urls, then := k.endpoints[len(k.endpoints)-1].urls, time.Now().Add(-propagation)
	for _, e := range slices.Backward(k.endpoints) {
		if e.since.Before(then) {
			if len(e.urls) > 0 && rand.IntN(2) == 0 {
				urls = e.urls
			}
			break
		}
	}
	if len(urls) == 0 {
		return nil
	}
	return urls[rand.IntN(len(urls))]
}

func (k *kube) await(p *pod) {
	select {
	case <-p.becomes:
	case <-p.exited:
		k.t.Errorf("%s has ended:\n%s", p.name, p.log())
	case <-time.After(2 * patience):
		k.t.Errorf("%s does not become ready:\n%s", p.name, p.log())
	}
}

// end ends a pod: the Service is told, preStop, SIGTERM, and no later than the
// grace period allows it is over.
func (k *kube) end(p *pod) {
	began := time.Now()
	k.set(func() { p.leaving = true })
	killed := time.NewTimer(seconds(p.Spec.Template.Spec.Grace))
	defer killed.Stop()
	<-time.After(seconds(p.container().Lifecycle.PreStop.Sleep.Seconds))
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		k.t.Error(err)
	}
	select {
	case <-p.exited:
	case <-killed.C:
		k.t.Errorf("%s would be killed", p.name)
		p.kill()
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		k.t.Errorf("%s ended with %d", p.name, code)
	}
	k.t.Logf("%s ended within %s", p.name, time.Since(began).Round(10*time.Millisecond))
}

// roll replaces a Deployment's pods as its strategy says: another one is begun,
// and as soon as it is ready, an old one ends.
func (k *kube) roll(d *deployment, old []*pod) {
	for len(old) > 0 {
		var anew []*pod
		for range min(d.Spec.Strategy.RollingUpdate.MaxSurge, len(old)) {
			anew = append(anew, k.start(d))
		}
		for _, p := range anew {
			k.await(p)
			k.ending.Go(func(leaves *pod) func() { return func() { k.end(leaves) } }(old[0]))
			old = old[1:]
		}
	}
}

// ServeHTTP is the Ingress controller: it tries each request once.
func (k *kube) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := k.endpoint()
	if to == nil {
		http.Error(w, "no endpoints", http.StatusBadGateway)
		return
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(w, r)
}
