package main

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// application is of Argo CD's kind what is used here; another field is an error.
type application struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		Project string `json:"project"`
		Source  struct {
			RepoURL        string `json:"repoURL"`
			TargetRevision string `json:"targetRevision"`
			Path           string `json:"path"`
			Kustomize      struct {
				Images []string `json:"images"`
			} `json:"kustomize"`
		} `json:"source"`
		Destination struct {
			Server    string `json:"server"`
			Namespace string `json:"namespace"`
		} `json:"destination"`
		SyncPolicy struct {
			Automated struct {
				Prune    bool `json:"prune"`
				SelfHeal bool `json:"selfHeal"`
			} `json:"automated"`
			Retry struct {
				Limit   int            `json:"limit"`
				Backoff map[string]any `json:"backoff"`
			} `json:"retry"`
		} `json:"syncPolicy"`
	} `json:"spec"`
}

func TestApplications(t *testing.T) {
	t.Parallel()
	for place, revision := range map[string]string{"staging": "main", "production": "v"} {
		text, err := os.ReadFile("../argocd/" + place + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var a application
		if err := yaml.UnmarshalStrict(text, &a); err != nil {
			t.Fatal(err)
		}
		source := a.Spec.Source
		if a.Kind != "Application" || source.Path != "deploy/argocd/"+place || !strings.HasPrefix(source.TargetRevision, revision) {
			t.Errorf("%s: %+v", place, a)
		}
		m := read(t, "../argocd/"+place)
		if a.Spec.Destination.Namespace != m.namespace() {
			t.Errorf("%s is put into %s", place, a.Spec.Destination.Namespace)
		}
		if place != "production" {
			continue
		}
		// Argo CD replaces images by their name without a tag: it must be ours.
		name, tag, _ := strings.Cut(source.Kustomize.Images[0], ":")
		if tag != source.TargetRevision {
			t.Errorf("the manifests of %s are installed with the program of %s", source.TargetRevision, tag)
		}
		for _, w := range m.workloads() {
			if image := w.container(t).Image; !strings.HasPrefix(image, name+":") {
				t.Errorf("%s runs %s, which %s does not replace", w.name, image, name)
			}
		}
	}
}

// What others need comes first, without a wave of its own; then stores, tables,
// nodes, and what leads to them.
func TestArgoCDInstallsInOrder(t *testing.T) {
	t.Parallel()
	waves := map[string]string{"StatefulSet": "1", "Job": "2", "Deployment": "3", "HorizontalPodAutoscaler": "4", "Ingress": "4"}
	for _, folder := range folders {
		if !strings.Contains(folder, "argocd") {
			continue
		}
		all, err := render(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range all.Resources() {
			if wave := one.GetAnnotations()["argocd.argoproj.io/sync-wave"]; wave != waves[one.GetKind()] {
				t.Errorf("%s: %s %s is in the wave %q", folder, one.GetKind(), one.GetName(), wave)
			}
		}
		m := read(t, folder)
		if len(m.jobs) != 1 {
			t.Fatalf("%s: %d jobs", folder, len(m.jobs))
		}
		// In the phase of the manifests, so that staging's database is there.
		if hook := m.jobs[0].Annotations["argocd.argoproj.io/hook"]; hook != "Sync" {
			t.Errorf("%s: the migration is a hook of %s", folder, hook)
		}
	}
}
