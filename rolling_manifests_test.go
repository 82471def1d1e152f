package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v2"
)

// manifest is of a rendered object what the kubelet, a Deployment and its scaler
// go by when pods are replaced. deploy/check holds all else to the program.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string // of a ConfigMap
	Spec     struct {
		Replicas    int
		MinReplicas int `yaml:"minReplicas"`
		Strategy    struct {
			RollingUpdate struct {
				MaxSurge int `yaml:"maxSurge"`
			} `yaml:"rollingUpdate"`
		}
		Template struct {
			Spec struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []container
			}
		}
	}
}

type container struct {
	Args    []string
	Env     []struct{ Name, Value string }
	EnvFrom []struct {
		ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
	} `yaml:"envFrom"`
	Ports []struct {
		Name string
		Port string `yaml:"containerPort"`
	}
	Readiness probe `yaml:"readinessProbe"`
	Liveness  probe `yaml:"livenessProbe"`
	Lifecycle struct {
		PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
	}
}

type probe struct {
	Get              struct{ Path, Port string } `yaml:"httpGet"`
	PeriodSeconds    int                         `yaml:"periodSeconds"`
	TimeoutSeconds   int                         `yaml:"timeoutSeconds"`
	FailureThreshold int                         `yaml:"failureThreshold"`
}

func (c *container) port(name string) string {
	for _, p := range c.Ports {
		if p.Name == name {
			return p.Port
		}
	}
	return ""
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// readManifests renders a folder of deploy/, with the module that does.
func readManifests(t testing.TB, folder string) (all []manifest) {
	t.Helper()
	cmd := exec.Command("go", "run", ".", "../"+folder)
	cmd.Dir = filepath.Join("deploy", "check")
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false -mod=readonly", "GOWORK=off")
	var said bytes.Buffer
	cmd.Stderr = &said
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	for documents := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var m manifest
		err := documents.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil && !strings.Contains(err.Error(), "cannot unmarshal") { // a field of another kind
			t.Fatal(err)
		}
		all = append(all, m)
	}
}

// deployment is a Deployment and what belongs to it.
type deployment struct {
	manifest
	replicas  int
	variables []string // of its containers
}

// deploymentOf finds one, with its container's arguments and variables as they
// stand but for files, which are looked for below dir.
func deploymentOf(t testing.TB, all []manifest, name, dir string) *deployment {
	t.Helper()
	d := &deployment{}
	for _, m := range all {
		switch {
		case m.Metadata.Name != name:
		case m.Kind == "Deployment":
			d.manifest, d.replicas = m, max(d.replicas, m.Spec.Replicas)
		case m.Kind == "HorizontalPodAutoscaler":
			d.replicas = m.Spec.MinReplicas
		}
	}
	if len(d.Spec.Template.Spec.Containers) != 1 || d.replicas < 2 || d.Spec.Strategy.RollingUpdate.MaxSurge < 1 {
		t.Fatalf("%s: %+v", name, d)
	}
	c := d.container()
	for _, from := range c.EnvFrom {
		i := slices.IndexFunc(all, func(m manifest) bool { return m.Kind == "ConfigMap" && m.Metadata.Name == from.ConfigMapRef.Name })
		for name, value := range all[i].Data {
			d.variables = append(d.variables, name+"="+value)
		}
	}
	for _, v := range c.Env {
		if strings.HasPrefix(v.Value, "/") {
			v.Value = filepath.Join(dir, v.Value)
		}
		if v.Value != "" {
			d.variables = append(d.variables, v.Name+"="+v.Value)
		}
	}
	return d
}

func (d *deployment) container() *container { return &d.Spec.Template.Spec.Containers[0] }
